// A copy of rows: both (2, channels) halves of a cell are contiguous on both sides, and a half is a row.
#include "kernels/base/error.h"
#include "kernels/cuda/copy_rows.cuh"
#include "kernels/depth_to_space.h"

namespace vistazo::cuda {
namespace {

struct DepthToSpaceMap {
  int width;

  // Rows of y are (batch and height, upper or lower, column), those of x (batch and height, column, upper or lower).
  __device__ std::int64_t operator()(std::int64_t row) const {
    const auto [line, column] = divide(row, width);
    return (line / 2 * width + column) * 2 + line % 2;
  }
};

}  // namespace

void depth_to_space(const DepthToSpaceArgs& args, CudaStream stream) {
  const auto element = static_cast<std::int64_t>(size_of(args.dtype));
  if (element != 2 && element != 4) {
    fail(Error::Code::unsupported, "depth_to_space: dtype {} has {} bytes; 2 or 4 are wanted", name_of(args.dtype),
         element);
  }
  if (args.batch < 0 || args.height < 1 || args.width < 1 || args.channels < 1) {
    fail(Error::Code::argument, "depth_to_space: batch {}, {} x {}, {} channels", args.batch, args.height, args.width,
         args.channels);
  }
  const std::int64_t half = 2 * args.channels * element;
  copy_rows("depth_to_space", DepthToSpaceMap{args.width}, args.x, half, args.y, half,
            std::int64_t{args.batch} * args.height * 2 * args.width, half, stream);
}

}  // namespace vistazo::cuda
