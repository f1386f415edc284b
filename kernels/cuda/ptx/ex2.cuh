#pragma once

namespace vistazo::cuda::ptx {

// 2^x, error at most 2 units in the last place; results below 2^-126 are zero, and 2^-infinity is.
__device__ inline float ex2_approx_ftz(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace vistazo::cuda::ptx
