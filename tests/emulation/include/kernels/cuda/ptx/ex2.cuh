#pragma once

#include <cmath>

namespace vistazo::cuda::ptx {

inline float ex2_approx_ftz(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;
}

}  // namespace vistazo::cuda::ptx
