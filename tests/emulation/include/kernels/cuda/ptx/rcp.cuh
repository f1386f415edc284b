#pragma once

#include <cmath>

namespace vistazo::cuda::ptx {

inline float rcp_approx_ftz(float x) {
  const float y = 1.0f / (std::abs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x);
  return std::abs(y) < 0x1p-126f ? std::copysign(0.0f, y) : y;
}

}  // namespace vistazo::cuda::ptx
