#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/divisor.cuh"
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
  Divisor by_channel_steps, by_kernel_width, by_out_width, by_out_height;
};

// Boxes of box_rows rows of the left operand by `step` columns along k; the weight's map is left to the caller.
inline Sm90Operands sm90_operands(const Gemm& gemm, int box_rows, int step) {
  Sm90Operands operands{};
  operands.gemm = gemm;
  operands.channel_steps = (gemm.channels + step - 1) / step;
  operands.steps = operands.channel_steps * gemm.kernel_height * gemm.kernel_width;
  operands.is_pointwise = gemm.is_pointwise();
  operands.by_channel_steps = Divisor(operands.channel_steps);
  operands.by_kernel_width = Divisor(gemm.kernel_width);
  operands.by_out_width = Divisor(gemm.out_width);
  operands.by_out_height = Divisor(gemm.out_height);
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

// A step's place along k: so many channels as a step has, or what is left of them, of a tap of the kernel. Where rows
// of the left operand are pixels there is one tap.
template <bool kIsPointwise>
struct Tap {
  int y = 0, x = 0, channel_step;

  __device__ Tap(const Sm90Operands& operands, int step) : channel_step(step) {
    if constexpr (!kIsPointwise) {
      const auto tap = operands.by_channel_steps.divide(step), place = operands.by_kernel_width.divide(tap.quotient);
      channel_step = tap.rest;
      y = place.quotient;
      x = place.rest;
    }
  }
  // The weight's column.
  __device__ int k(const Sm90Operands& operands, int step_columns) const {
    const int channel = channel_step * step_columns;
    if constexpr (kIsPointwise) return channel;
    return (y * operands.gemm.kernel_width + x) * operands.gemm.channels + channel;
  }
};

// Where rows of the left operand begin: the first row, and the corner of the kernel there.
template <bool kIsPointwise>
struct RowCorner {
  int row, x = 0, y = 0, image = 0;

  __device__ RowCorner(const Sm90Operands& operands, int first_row) : row(first_row) {
    if constexpr (!kIsPointwise) {
      const auto line = operands.by_out_width.divide(first_row), place = operands.by_out_height.divide(line.quotient);
      image = place.quotient;
      x = line.rest * operands.gemm.stride - operands.gemm.padding;
      y = place.rest * operands.gemm.stride - operands.gemm.padding;
    }
  }
};

// Calls go<Y, activation>() with the type of y, f32 or T, and what becomes of the sums: kernels are made for each.
template <typename T, typename Go>
void with_result(const Gemm& gemm, Go&& go) {
  const auto choose = [&]<typename Y>() {
    switch (gemm.activation) {
      case Activation::none:
        return go.template operator()<Y, Activation::none>();
      case Activation::relu:
        return go.template operator()<Y, Activation::relu>();
      case Activation::silu:
        return go.template operator()<Y, Activation::silu>();
      case Activation::gelu:
        return go.template operator()<Y, Activation::gelu>();
    }
  };
  gemm.y_dtype == DType::f32 ? choose.template operator()<float>() : choose.template operator()<T>();
}

// One thread starts the copy of the rows' step.
template <bool kIsPointwise>
__device__ void copy_rows(const Sm90Operands& operands, void* shared, const RowCorner<kIsPointwise>& corner, int group,
                          const Tap<kIsPointwise>& tap, int step_columns, ptx::Barrier* barrier) {
  const int channel = group * operands.gemm.channels + tap.channel_step * step_columns;
  if constexpr (kIsPointwise) {
    ptx::cp_async_bulk_tensor_2d(shared, &operands.x, channel, corner.row, barrier);
  } else {
    ptx::cp_async_bulk_tensor_im2col(shared, &operands.x, channel, corner.x, corner.y, corner.image, tap.x, tap.y,
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
