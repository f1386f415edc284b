// Sums, conversions and copies on CUDA: a thread owns a group of eight or four adjacent elements of a row, or one where
// rows are not aligned to groups. Element types are branches that all threads take alike: 27 kernels would be no
// faster, for memory limits this one, and the launch where tensors are small.
#include <cstdint>

#include "kernels/base/error.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/elementwise.h"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;  // small, so that a tensor of a few hundred rows reaches every multiprocessor

struct AddLaunch {
  AddArgs args;
  int row_groups;
};

template <int kCount>
__global__ void __launch_bounds__(kThreads) add_kernel(const __grid_constant__ AddLaunch launch) {
  dependent_launch();
  const AddArgs& args = launch.args;
  const auto [row, group] = divide(thread_of_grid<kThreads>(), launch.row_groups);
  if (row >= args.rows) return;
  const int col = group * kCount;
  float sum[kCount];  // y may equal a: a thread writes only what it alone has read
  const std::int64_t a_row = args.a_rows > 0 ? row % args.a_rows : row;
  load_group(sum, args.a, a_row * args.a_row_stride + col, args.a_dtype);
  if (args.a_copy != nullptr) store_group(args.a_copy, row * args.cols + col, args.y_dtype, sum);
  if (args.b != nullptr) {
    float b[kCount];
    const std::int64_t b_row = args.b_rows >= args.rows ? row : row % args.b_rows;
    load_group(b, args.b, b_row * args.cols + col, args.b_dtype);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum[i] += b[i];
  }
  store_group(args.y, row * args.y_row_stride + col, args.y_dtype, sum);
}

void check(const AddArgs& args) {
  const auto require_float = [](const char* name, DType dtype) {
    if (is_float(dtype)) return;
    fail(Error::Code::unsupported, "add: {} is {}; f32, f16 or bf16 is needed", name, name_of(dtype));
  };
  require_float("a", args.a_dtype);
  if (args.b != nullptr) require_float("b", args.b_dtype);
  require_float("y", args.y_dtype);
  if (args.rows < 0 || args.a_rows < 0 || args.cols < 0 || (args.b != nullptr && args.b_rows <= 0)) {
    fail(Error::Code::argument, "add: {} rows, {} columns, {} rows of b", args.rows, args.cols, args.b_rows);
  }
  if (args.a_row_stride < args.cols || args.y_row_stride < args.cols) {
    fail(Error::Code::argument, "add: row strides {} and {} for {} columns", args.a_row_stride, args.y_row_stride,
         args.cols);
  }
}

}  // namespace

void add(const AddArgs& args, CudaStream stream) {
  check(args);
  if (args.rows == 0 || args.cols == 0) return;
  const auto fits = [&](int count) {
    return args.cols % count == 0 && are_groups_aligned(count, args.a, args.a_row_stride, args.a_dtype) &&
           are_groups_aligned(count, args.y, args.y_row_stride, args.y_dtype) &&
           (args.a_copy == nullptr || are_groups_aligned(count, args.a_copy, args.cols, args.y_dtype)) &&
           (args.b == nullptr || are_groups_aligned(count, args.b, args.cols, args.b_dtype));
  };
  const auto start = [&](void (*kernel)(AddLaunch), int count) {
    const AddLaunch parameters{args, args.cols / count};
    launch("add", kernel, ceil_divide(args.rows * parameters.row_groups, kThreads), kThreads, 0, stream, parameters);
  };
  constexpr std::int64_t kMany = 1 << 20;  // elements: enough to fill the chip with larger groups
  if (args.rows * args.cols >= kMany && fits(8)) return start(add_kernel<8>, 8);
  if (fits(4)) return start(add_kernel<4>, 4);
  start(add_kernel<1>, 1);
}

}  // namespace vistazo::cuda
