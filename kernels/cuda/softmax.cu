// Softmax of rows on CUDA: a warp per row, which it reads once and keeps in registers (rows of more than 1024 columns
// are read three times, twice from a cache). Limited by memory.
#include "kernels/base/error.h"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"
#include "kernels/softmax.h"

namespace vistazo::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;  // rows share nothing: small blocks, so that few rows fill the chip

// kKept: columns that a lane keeps, or 0 to read the row again for every pass.
template <int kKept>
__global__ void __launch_bounds__(kThreads) softmax_kernel(const __grid_constant__ SoftmaxArgs args) {
  dependent_launch();
  const int lane = static_cast<int>(threadIdx.x) % 32, cols = args.cols;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (row >= args.rows) return;  // the whole warp
  const float* x = args.x + row * cols;
  float* y = args.y + row * cols;  // may equal x

  float kept[kKept > 0 ? kKept : 1];
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    kept[i] = lane + 32 * i < cols ? x[lane + 32 * i] : -kInfinity;
  }
  // Calls body(value, column) for the lane's columns.
  const auto for_each = [&](auto&& body) {
    if constexpr (kKept > 0) {
#pragma unroll
      for (int i = 0; i < kKept; ++i) body(kept[i], lane + 32 * i);
    } else {
      for (int column = lane; column < cols; column += 32) body(x[column], column);
    }
  };
  float largest = -kInfinity, sum = 0.0f;
  for_each([&](float value, int) { largest = fmaxf(largest, value); });
  largest = largest_of_warp(largest);
  for_each([&](float value, int column) { sum += column < cols ? expf(value - largest) : 0.0f; });
  const float factor = 1.0f / sum_of_warp(sum);
  for_each([&](float value, int column) {
    if (column < cols) y[column] = expf(value - largest) * factor;
  });
}

}  // namespace

void softmax(const SoftmaxArgs& args, CudaStream stream) {
  if (args.rows < 0 || args.cols <= 0) {
    fail(Error::Code::argument, "softmax: {} rows, {} columns", args.rows, args.cols);
  }
  if (args.rows == 0) return;
  const auto start = [&](void (*kernel)(SoftmaxArgs)) {
    launch("softmax", kernel, ceil_divide(args.rows, kWarps), kThreads, 0, stream, args);
  };
  if (args.cols <= 32 * 4) return start(softmax_kernel<4>);
  if (args.cols <= 32 * 32) return start(softmax_kernel<32>);
  start(softmax_kernel<0>);
}

}  // namespace vistazo::cuda
