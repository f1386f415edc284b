#pragma once

#include <limits>

namespace vistazo::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

__device__ inline float sum_of_warp(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}

// NaN is skipped.
__device__ inline float largest_of_warp(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, distance));
  return x;
}

}  // namespace vistazo::cuda
