// A warp per row, which it reads once and keeps in registers up to 512 columns (128 where rows are not aligned to
// groups of four), and reads twice beyond. Limited by memory, and by latency where rows are few.
#include "kernels/base/error.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"
#include "kernels/rms_norm.h"

namespace vistazo::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kGroup = 4;
constexpr int kKept = 4;  // groups that a lane keeps

template <int kCount>
__global__ void __launch_bounds__(kThreads) rms_norm_kernel(const __grid_constant__ RmsNormArgs args) {
  dependent_launch();
  constexpr int kStep = 32 * kCount;
  const int lane = static_cast<int>(threadIdx.x) % 32, cols = args.cols;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (row >= args.rows) return;  // the whole warp
  const std::int64_t x_row = row * args.x_row_stride, y_row = row * args.y_row_stride;

  float kept[kKept][kCount], sum = 0.0f;
  const auto add_squares = [&](const float(&values)[kCount]) {
#pragma unroll
    for (const float value : values) sum = fmaf(value, value, sum);
  };
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int column = i * kStep + lane * kCount;
    if (column < cols) {
      load_group(kept[i], args.x, x_row + column, args.x_dtype);
      add_squares(kept[i]);
    }
  }
  float values[kCount];
  for (int column = kKept * kStep + lane * kCount; column < cols; column += kStep) {
    load_group(values, args.x, x_row + column, args.x_dtype);
    add_squares(values);
  }
  const float factor = 1.0f / sqrtf(sum_of_warp(sum) / static_cast<float>(cols) + args.eps);

  // y may equal x: a lane writes only what it alone has read.
  const auto store_scaled = [&](float(&result)[kCount], int column) {
    float scale[kCount];
    load_group(scale, args.scale + column);
#pragma unroll
    for (int i = 0; i < kCount; ++i) result[i] = result[i] * factor * scale[i];
    store_group(args.y, y_row + column, args.y_dtype, result);
  };
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int column = i * kStep + lane * kCount;
    if (column < cols) store_scaled(kept[i], column);
  }
  for (int column = kKept * kStep + lane * kCount; column < cols; column += kStep) {
    load_group(values, args.x, x_row + column, args.x_dtype);
    store_scaled(values, column);
  }
}

}  // namespace

void rms_norm(const RmsNormArgs& args, CudaStream stream) {
  if (!is_float(args.x_dtype) || !is_float(args.y_dtype)) {
    fail(Error::Code::unsupported, "rms_norm: {} -> {}; f32, f16 or bf16 is needed", name_of(args.x_dtype),
         name_of(args.y_dtype));
  }
  if (args.rows < 0 || args.cols <= 0 || args.x_row_stride < args.cols || args.y_row_stride < args.cols) {
    fail(Error::Code::argument, "rms_norm: {} rows, {} columns, row strides {} and {}", args.rows, args.cols,
         args.x_row_stride, args.y_row_stride);
  }
  if (args.rows == 0) return;
  const bool is_grouped = args.cols % kGroup == 0 &&
                          are_groups_aligned(kGroup, args.x, args.x_row_stride, args.x_dtype) &&
                          are_groups_aligned(kGroup, args.y, args.y_row_stride, args.y_dtype) &&
                          are_groups_aligned(kGroup, args.scale, 0, DType::f32);
  launch("rms_norm", is_grouped ? rms_norm_kernel<kGroup> : rms_norm_kernel<1>, ceil_divide(args.rows, kWarps),
         kThreads, 0, stream, args);
}

}  // namespace vistazo::cuda
