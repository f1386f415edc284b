#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/ptx/cp_async_bulk_im2col.cuh"
#include "kernels/cuda/ptx/mbarrier.cuh"
#include "kernels/cuda/ptx/wgmma.cuh"
#include "kernels/cuda/tensor_map.h"

// The operands of a product as the copy engine of compute capability 9.0 brings them, and their multiplication.
namespace vistazo::cuda {

constexpr int kWarpgroup = 128;         // threads
constexpr int kSharedAlignment = 1024;  // of swizzled rows in shared memory

struct Sm90Operands {
  CUtensorMap x, weight;
  Gemm gemm;
  int channel_steps;  // steps of one tap along k
  int steps;          // of all taps
  bool is_pointwise;  // rows of the left operand are pixels
};

// Boxes of box_rows rows of the left operand by `step` columns along k; the weight's map is left to the caller.
inline Sm90Operands sm90_operands(const Gemm& gemm, int box_rows, int step) {
  Sm90Operands operands{};
  operands.gemm = gemm;
  operands.channel_steps = (gemm.channels + step - 1) / step;
  operands.steps = operands.channel_steps * gemm.kernel_height * gemm.kernel_width;
  operands.is_pointwise = gemm.is_pointwise();
  if (operands.is_pointwise) {
    operands.x = matrix_map(gemm.x, gemm.dtype, gemm.rows, gemm.groups * gemm.channels, gemm.x_stride, box_rows, step);
  } else {
    operands.x = pixel_map({.data = gemm.x,
                            .dtype = gemm.dtype,
                            .batch = gemm.batch,
                            .height = gemm.height,
                            .width = gemm.width,
                            .channels = gemm.groups * gemm.channels,
                            .pixel_stride = gemm.x_stride,
                            .stride = gemm.stride,
                            .padding = gemm.padding,
                            .out_height = gemm.out_height,
                            .out_width = gemm.out_width,
                            .box_pixels = box_rows,
                            .box_channels = step});
  }
  return operands;
}

// A place along k: so many channels as a step has, or what is left of them, of a tap of the kernel.
struct TapCursor {
  int tap_y, tap_x, channel_step;

  __device__ TapCursor(const Sm90Operands& operands, int step) {
    const int tap = step / operands.channel_steps;
    channel_step = step - tap * operands.channel_steps;
    tap_y = tap / operands.gemm.kernel_width;
    tap_x = tap - tap_y * operands.gemm.kernel_width;
  }
  __device__ void advance(const Sm90Operands& operands) {
    if (++channel_step < operands.channel_steps) return;
    channel_step = 0;
    if (++tap_x < operands.gemm.kernel_width) return;
    tap_x = 0;
    ++tap_y;
  }
  // The weight's column.
  __device__ int k(const Sm90Operands& operands, int step_columns) const {
    return (tap_y * operands.gemm.kernel_width + tap_x) * operands.gemm.channels + channel_step * step_columns;
  }
};

// Where rows of the left operand begin: the first row, and the corner of the kernel there.
struct RowCorner {
  int row, x, y, image;

  __device__ RowCorner(const Gemm& gemm, int first_row) : row(first_row) {
    const int line = first_row / gemm.out_width;
    image = line / gemm.out_height;
    x = (first_row - line * gemm.out_width) * gemm.stride - gemm.padding;
    y = (line - image * gemm.out_height) * gemm.stride - gemm.padding;
  }
};

// One thread starts the copy of the rows' step.
__device__ inline void copy_rows(const Sm90Operands& operands, void* shared, const RowCorner& corner, int group,
                                 const TapCursor& at, int step_columns, ptx::Barrier* barrier) {
  const int channel = group * operands.gemm.channels + at.channel_step * step_columns;
  if (operands.is_pointwise) {
    ptx::cp_async_bulk_tensor_2d(shared, &operands.x, channel, corner.row, barrier);
  } else {
    ptx::cp_async_bulk_tensor_im2col(shared, &operands.x, channel, corner.x, corner.y, corner.image, at.tap_x, at.tap_y,
                                     barrier);
  }
}

// sums (64 x 8 kTiles) += or = a (64 x 16) * b (16 x 8 kTiles), by descriptors.
template <typename T, int kTiles>
__device__ void multiply(float (&sums)[kTiles][4], std::uint64_t a, std::uint64_t b, bool is_added) {
  if constexpr (std::is_same_v<T, __half>) {
    ptx::wgmma_f32_f16(sums, a, b, is_added);
  } else {
    ptx::wgmma_f32_bf16(sums, a, b, is_added);
  }
}

// The bias of a group's columns from first_column on, zero where there is none, by kThreads threads. Nothing in front
// of the kernel writes it.
template <int kColumns, int kThreads>
__device__ void load_bias(const Gemm& gemm, int group, int first_column, float* bias, int thread) {
  for (int i = thread; i < kColumns; i += kThreads) {
    const int column = first_column + i;
    const bool has_bias = gemm.bias != nullptr && column < gemm.columns;
    bias[i] = has_bias ? gemm.bias[group * gemm.columns + column] : 0.0f;
  }
}

}  // namespace vistazo::cuda
