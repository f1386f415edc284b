#pragma once

namespace vistazo::cuda::ptx {

// 1 / x, error at most 1 unit in the last place; denormal arguments count as zero, results below 2^-126 are zero.
__device__ inline float rcp_approx_ftz(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace vistazo::cuda::ptx
