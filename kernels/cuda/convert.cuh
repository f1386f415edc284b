#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

// The element types of tensors on the device, to and from f32. Rounding is to nearest even.
namespace vistazo::cuda {

__device__ inline float to_float(float x) {
  return x;
}
__device__ inline float to_float(__half x) {
  return __half2float(x);
}
__device__ inline float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

template <typename T>
__device__ inline T from_float(float x) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return x;
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(x);
  } else {
    return __float2bfloat16_rn(x);
  }
}

// Two 16-bit elements in a register, `low` first in memory.
template <typename T>
__device__ inline std::uint32_t pack(float low, float high) {
  union {
    std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162> pair;
    std::uint32_t bits;
  } result;
  if constexpr (std::is_same_v<T, __half>) {
    result.pair = __floats2half2_rn(low, high);
  } else {
    result.pair = __floats2bfloat162_rn(low, high);
  }
  return result.bits;
}

}  // namespace vistazo::cuda
