#pragma once

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/ptx/ex2.cuh"
#include "kernels/cuda/ptx/rcp.cuh"

// What becomes of the sums. A column counts over all groups.
namespace vistazo::cuda {

template <typename Y>
__device__ inline void finish(const Gemm& gemm, float sum, std::int64_t row, int column) {
  Y* const y = static_cast<Y*>(gemm.y) + row * gemm.y_stride + column;
  if (gemm.bias != nullptr) sum += gemm.bias[column];
  if (gemm.accumulate) sum += to_float(*y);
  *y = from_float<Y>(activate(sum, gemm.activation) * gemm.post_scale + gemm.post_bias);
}

// x / 2 * (1 + erf(x / sqrt(2))) by the rational approximation 7.1.26 of Abramowitz & Stegun, whose error is at most
// 1.5e-7: a quarter of the instructions of erff(). The polynomial has half of its coefficients.
__device__ inline float gelu(float x) {
  constexpr float kSlope = 0.3275911f * 0.70710678f;  // of t's denominator, for erf's argument x / sqrt(2)
  constexpr float kExponent = -0.72134752f;           // -log2(e) / 2
  const float t = ptx::rcp_approx_ftz(1.0f + kSlope * fabsf(x));
  const float polynomial =
      t * (0.127414796f + t * (-0.142248368f + t * (0.7107068705f + t * (-0.7265760135f + t * 0.5307027145f))));
  // What max(x, 0) has too much, in parts of |x|: (1 - erf(|x| / sqrt(2))) / 2.
  return fmaxf(x, 0.0f) - fabsf(x) * (polynomial * ptx::ex2_approx_ftz(kExponent * x * x));
}

// All of x at once: one choice of the activation for many independent values, which a choice for each would put in a
// row. With the short division and exponential: errors of some units in the last place of f32.
template <int kRows, int kColumns>
__device__ inline void activate_all(float (&x)[kRows][kColumns], Activation activation) {
  const auto replace = [&](auto&& function) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) x[i][j] = function(x[i][j]);
    }
  };
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return replace([](float v) { return v < 0.0f ? 0.0f : v; });
    case Activation::silu:
      return replace([](float v) { return __fdividef(v, 1.0f + __expf(-v)); });
    case Activation::gelu:
      return replace(gelu);
  }
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
