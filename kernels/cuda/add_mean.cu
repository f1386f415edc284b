// A block owns 32 columns of one image, a lane a column: its warps sum every eighth token, then add the mean. The maps
// that use it are the smallest of a pyramid, so that the launch and two passes of dependent loads are the time.
#include "kernels/add_mean.h"
#include "kernels/base/error.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kColumns = 32, kWarps = 8, kThreads = kColumns * kWarps;

struct AddMeanLaunch {
  AddMeanArgs args;
  int blocks_across;
};

__global__ void __launch_bounds__(kThreads) add_mean_kernel(const __grid_constant__ AddMeanLaunch launch) {
  dependent_launch();
  __shared__ float sums[kWarps][kColumns];
  const AddMeanArgs& args = launch.args;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const auto [image, block] = divide(blockIdx.x, launch.blocks_across);
  const int column = block * kColumns + lane;
  const std::int64_t first = image * args.tokens * args.cols + column;
  float sum = 0.0f, value[1];
  if (column < args.cols) {
    for (int token = warp; token < args.tokens; token += kWarps) {
      load_group(value, args.x, first + std::int64_t{token} * args.cols, args.dtype);
      sum += value[0];
    }
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (column >= args.cols) return;
  float mean = 0.0f;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) mean += sums[i][lane];
  mean /= static_cast<float>(args.tokens);
  for (int token = warp; token < args.tokens; token += kWarps) {
    const std::int64_t element = first + std::int64_t{token} * args.cols;
    load_group(value, args.x, element, args.dtype);
    value[0] += mean;
    store_group(args.y, element, args.dtype, value);
  }
}

}  // namespace

void add_mean(const AddMeanArgs& args, CudaStream stream) {
  if (!is_float(args.dtype)) {
    fail(Error::Code::unsupported, "add_mean: {}; f32, f16 or bf16 is needed", name_of(args.dtype));
  }
  if (args.batch < 0 || args.tokens < 1 || args.cols < 1) {
    fail(Error::Code::argument, "add_mean: batch {}, tokens {}, columns {}", args.batch, args.tokens, args.cols);
  }
  if (args.batch == 0) return;
  const AddMeanLaunch parameters{args, (args.cols + kColumns - 1) / kColumns};
  launch("add_mean", add_mean_kernel, std::int64_t{args.batch} * parameters.blocks_across, kThreads, 0, stream,
         parameters);
}

}  // namespace vistazo::cuda
