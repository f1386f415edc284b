#pragma once

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/group.cuh"

// What becomes of the sums. A column counts over all groups.
namespace vistazo::cuda {

template <typename Y>
__device__ inline void finish(const Gemm& gemm, float sum, std::int64_t row, int column) {
  Y* const y = static_cast<Y*>(gemm.y) + row * gemm.y_stride + column;
  if (gemm.bias != nullptr) sum += gemm.bias[column];
  if (gemm.accumulate) sum += to_float(*y);
  *y = from_float<Y>(activate(sum, gemm.activation) * gemm.post_scale + gemm.post_bias);
}

template <int kColumns>
__device__ inline void scale_all(const Gemm& gemm, float (&x)[kColumns]) {
#pragma unroll
  for (int i = 0; i < kColumns; ++i) x[i] = x[i] * gemm.post_scale + gemm.post_bias;
}

// x += y and y = x, in one access where groups of columns are whole and aligned, of the columns that exist otherwise.
template <typename Y, int kColumns>
__device__ inline void add_columns(float (&x)[kColumns], const Y* y, int columns, bool is_whole) {
  if (is_whole) {
    const auto before = *reinterpret_cast<const Group<Y, kColumns>*>(y);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) x[i] += to_float(before.values[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      if (i < columns) x[i] += to_float(y[i]);
    }
  }
}

template <typename Y, int kColumns>
__device__ inline void store_columns(Y* y, const float (&x)[kColumns], int columns, bool is_whole) {
  if (is_whole) {
    Group<Y, kColumns> result;
#pragma unroll
    for (int i = 0; i < kColumns; ++i) result.values[i] = from_float<Y>(x[i]);
    *reinterpret_cast<Group<Y, kColumns>*>(y) = result;
  } else {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      if (i < columns) y[i] = from_float<Y>(x[i]);
    }
  }
}

}  // namespace vistazo::cuda
