#pragma once

#include <cstdint>

#include "kernels/base/half.h"

struct __nv_bfloat16 {
  std::uint16_t bits;
};
struct __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline float __bfloat162float(__nv_bfloat16 x) {
  return vistazo::float_from_bf16(x.bits);
}
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  return {vistazo::bf16_from_float(x)};
}
inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
  return {__float2bfloat16_rn(low), __float2bfloat16_rn(high)};
}
