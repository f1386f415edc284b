#pragma once

#include "kernels/activation.h"
#include "kernels/cuda/ptx/ex2.cuh"
#include "kernels/cuda/ptx/rcp.cuh"
#include "kernels/cuda/ptx/tanh.cuh"

namespace vistazo::cuda {

// The branch is the same for all threads.
__device__ inline float activate(float x, Activation activation) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x < 0.0f ? 0.0f : x;
    case Activation::silu:
      return x / (1.0f + expf(-x));
    case Activation::gelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752440f));
  }
  return x;
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

// For 16-bit results, with the instruction for tanh: its error, |x| / 4096 at most, is half of what rounding x to f16
// would be. The polynomial makes erf of tanh, not the usual approximation of GELU but this one 20 times as exact: it
// adds 3e-5. Behind |x| = 8, where it would turn, the argument goes on straight.
__device__ inline float gelu_narrow(float x) {
  const float square = fminf(x * x, 64.0f), half = 0.5f * x;
  const float argument = x * (0.797507884f + square * (0.0370056461f - 0.000351516808f * square));
  return half + half * ptx::tanh_approx(argument);
}
__device__ inline float silu_narrow(float x) {
  const float half = 0.5f * x;
  return half + half * ptx::tanh_approx(half);
}

// All of x, for results of type Y. Errors of some units in the last place of f32, or as above.
template <typename Y, Activation kActivation, int kRows, int kColumns>
__device__ inline void activate_all(float (&x)[kRows][kColumns]) {
  constexpr bool kIsNarrow = sizeof(Y) < sizeof(float);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      float& v = x[i][j];
      if constexpr (kActivation == Activation::relu) v = v < 0.0f ? 0.0f : v;
      if constexpr (kActivation == Activation::silu) v = kIsNarrow ? silu_narrow(v) : __fdividef(v, 1.0f + __expf(-v));
      if constexpr (kActivation == Activation::gelu) v = kIsNarrow ? gelu_narrow(v) : gelu(v);
    }
  }
}
// One choice of the activation for many independent values, which a choice for each would put in a row.
template <typename Y, int kRows, int kColumns>
__device__ inline void activate_all(float (&x)[kRows][kColumns], Activation activation) {
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return activate_all<Y, Activation::relu>(x);
    case Activation::silu:
      return activate_all<Y, Activation::silu>(x);
    case Activation::gelu:
      return activate_all<Y, Activation::gelu>(x);
  }
}

}  // namespace vistazo::cuda
