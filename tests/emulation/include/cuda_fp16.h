#pragma once

#include <cstdint>

#include "kernels/base/half.h"

struct __half {
  std::uint16_t bits;
};
struct __half2 {
  __half x, y;
};

inline float __half2float(__half x) {
  return vistazo::float_from_f16(x.bits);
}
inline __half __float2half_rn(float x) {
  return {vistazo::f16_from_float(x)};
}
inline __half2 __floats2half2_rn(float low, float high) {
  return {__float2half_rn(low), __float2half_rn(high)};
}
