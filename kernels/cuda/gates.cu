// A thread owns eight or four adjacent columns of a row of the result (gated_sum, of f32, four), or one where rows are
// not aligned to groups. Limited by memory, and by the launch where tensors are small.
#include "kernels/base/error.h"
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/gates.h"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kGroup = 4;

template <typename Args>
struct GatesLaunch {
  Args args;
  int row_groups;
};

__device__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

template <int kCount>
__global__ void __launch_bounds__(kThreads) swiglu_kernel(const __grid_constant__ GatesLaunch<SwigluArgs> launch) {
  dependent_launch();
  const SwigluArgs& args = launch.args;
  const auto [row, group] = divide(thread_of_grid<kThreads>(), launch.row_groups);
  if (row >= args.rows) return;
  float gates[kCount], values[kCount];
  const std::int64_t element = row * args.x_row_stride + group * kCount;
  load_group(gates, args.x, element, args.dtype);
  load_group(values, args.x, element + args.cols, args.dtype);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    values[i] *= args.dtype == DType::f32 ? activate(gates[i], Activation::silu) : silu_narrow(gates[i]);
  }
  store_group(args.y, row * args.cols + group * kCount, args.dtype, values);
}

template <int kCount>
__global__ void __launch_bounds__(kThreads) gated_sum_kernel(const __grid_constant__ GatesLaunch<GatedSumArgs> launch) {
  dependent_launch();
  const GatedSumArgs& args = launch.args;
  const auto [row, group] = divide(thread_of_grid<kThreads>(), launch.row_groups);
  if (row >= args.rows) return;
  const std::int64_t element = row * args.cols + group * kCount, gate = element + row * args.cols;
  float gates_a[kCount], gates_b[kCount], a[kCount], b[kCount];
  load_group(gates_a, args.gates + gate);
  load_group(gates_b, args.gates + gate + args.cols);
  load_group(a, args.a + element);  // y may equal a: a thread writes only what it alone has read
  load_group(b, args.b, element, args.b_dtype);
#pragma unroll
  for (int i = 0; i < kCount; ++i) a[i] = fmaf(sigmoid(gates_a[i]), a[i], sigmoid(gates_b[i]) * b[i]);
  store_group(args.y + element, a);
}

void check(const char* op, std::int64_t rows, int cols, DType dtype) {
  if (!is_float(dtype)) fail(Error::Code::unsupported, "{}: {}; f32, f16 or bf16 is needed", op, name_of(dtype));
  if (rows < 0 || cols < 1) fail(Error::Code::argument, "{}: {} rows, {} columns", op, rows, cols);
}

}  // namespace

void swiglu(const SwigluArgs& args, CudaStream stream) {
  check("swiglu", args.rows, args.cols, args.dtype);
  if (args.x_row_stride < 2 * std::int64_t{args.cols}) {
    fail(Error::Code::argument, "swiglu: row stride {} for 2 * {} columns", args.x_row_stride, args.cols);
  }
  if (args.rows == 0) return;
  const int count = choose_group(args.rows * args.cols, [&](int size) {
    return args.cols % size == 0 && are_groups_aligned(size, args.x, args.x_row_stride, args.dtype) &&
           are_groups_aligned(size, args.y, args.cols, args.dtype);
  });
  const GatesLaunch<SwigluArgs> parameters{args, args.cols / count};
  launch("swiglu",
         count == 8   ? swiglu_kernel<8>
         : count == 4 ? swiglu_kernel<4>
                      : swiglu_kernel<1>,
         ceil_divide(args.rows * parameters.row_groups, kThreads), kThreads, 0, stream, parameters);
}

void gated_sum(const GatedSumArgs& args, CudaStream stream) {
  check("gated_sum", args.rows, args.cols, args.b_dtype);
  if (args.rows == 0) return;
  const bool is_grouped = are_groups_aligned(kGroup, args.gates, args.cols, DType::f32) &&
                          are_groups_aligned(kGroup, args.a, args.cols, DType::f32) &&
                          are_groups_aligned(kGroup, args.b, args.cols, args.b_dtype) &&
                          are_groups_aligned(kGroup, args.y, args.cols, DType::f32);
  const GatesLaunch<GatedSumArgs> parameters{args, is_grouped ? args.cols / kGroup : args.cols};
  launch("gated_sum", is_grouped ? gated_sum_kernel<kGroup> : gated_sum_kernel<1>,
         ceil_divide(args.rows * parameters.row_groups, kThreads), kThreads, 0, stream, parameters);
}

}  // namespace vistazo::cuda
