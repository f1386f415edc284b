#pragma once

#include <cstdint>

#include "kernels/cuda/attention/load_rows.cuh"
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/group.cuh"

// Rotation of rows of q and k (kernels/rope.h) in shared memory.
namespace vistazo::cuda {

// Entries of the table for a token that is rotated.
struct RopeEntries {
  std::uint32_t first, second;  // for angles below a quarter of head_dim, and for the others

  __device__ RopeEntries(const RopeTable& rope, int token) {
    const auto patch = static_cast<std::uint32_t>(token - rope.prefix);
    // All of it where there is no grid.
    second = patch - __umulhi(patch, rope.reciprocal) * rope.width;
    first = rope.width == 0 ? patch : patch - second;
  }
  __device__ const float* cosine(const RopeTable& rope, unsigned angle) const {
    return rope.table + std::uint64_t{angle < rope.quarter ? first : second} * rope.head_dim + angle;
  }
};

__device__ inline void rotate(float& low, float& high, float cosine, float sine) {
  const float turned = fmaf(-high, sine, low * cosine);
  high = fmaf(low, sine, high * cosine);
  low = turned;
}

// Four pairs, from `angle` on.
__device__ inline void rotate_four(float (&low)[4], float (&high)[4], const RopeTable& rope, const RopeEntries& entries,
                                   unsigned angle) {
  const float* from = entries.cosine(rope, angle);
  const float4 cosines = *reinterpret_cast<const float4*>(from);
  const float4 sines = *reinterpret_cast<const float4*>(from + rope.half);
  rotate(low[0], high[0], cosines.x, sines.x);
  rotate(low[1], high[1], cosines.y, sines.y);
  rotate(low[2], high[2], cosines.z, sines.z);
  rotate(low[3], high[3], cosines.w, sines.w);
}

// 16 bytes of a row's first half and those of its second half that they are paired with. rope.is_aligned.
template <typename T>
__device__ inline void rotate_group(T* low, T* high, const RopeTable& rope, const RopeEntries& entries,
                                    unsigned angle) {
  if constexpr (sizeof(T) == sizeof(float)) {
    float x[4], y[4];
    load_group(x, low);
    load_group(y, high);
    rotate_four(x, y, rope, entries, angle);
    store_group(low, x);
    store_group(high, y);
  } else {
    struct alignas(16) Words {
      std::uint32_t words[4];
    } x = *reinterpret_cast<const Words*>(low), y = *reinterpret_cast<const Words*>(high);
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const float2 x0 = unpack<T>(x.words[i]), x1 = unpack<T>(x.words[i + 1]);
      const float2 y0 = unpack<T>(y.words[i]), y1 = unpack<T>(y.words[i + 1]);
      float first[4] = {x0.x, x0.y, x1.x, x1.y}, second[4] = {y0.x, y0.y, y1.x, y1.y};
      rotate_four(first, second, rope, entries, angle + 2 * i);
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        x.words[i + j] = pack<T>(first[2 * j], first[2 * j + 1]);
        y.words[i + j] = pack<T>(second[2 * j], second[2 * j + 1]);
      }
    }
    *reinterpret_cast<Words*>(low) = x;
    *reinterpret_cast<Words*>(high) = y;
  }
}

// Rows of tokens `first`, `first` + 1 and so on that lie in shared memory as load_rows() left them, all threads of the
// block together. For barriers before and behind the caller cares.
template <typename T, int kDim, int kRows, int kThreads>
__device__ inline void rotate_rows(T* shared, const RopeTable& rope, int first) {
  constexpr int kStride = kSharedStride<T, kDim>;
  int thread = static_cast<int>(threadIdx.x);
  asm volatile("" : "+r"(thread));  // all that follows from it is computed anew: kept, it would cost registers
  const int half = static_cast<int>(rope.half), begin = max(rope.prefix - first, 0), end = min(rope.end - first, kRows);
  if (rope.is_aligned) {
    constexpr int kGroup = 16 / static_cast<int>(sizeof(T)), kGroups = kDim / 2 / kGroup;
#pragma unroll 1
    for (int index = thread; index < kRows * kGroups; index += kThreads) {
      const int row = index / kGroups, angle = index % kGroups * kGroup;
      if (row < begin || row >= end || angle >= half) continue;
      T* const low = shared + row * kStride + angle;
      rotate_group(low, low + half, rope, RopeEntries(rope, first + row), angle);
    }
    return;
  }
#pragma unroll 1
  for (int index = thread; index < kRows * half; index += kThreads) {
    const int row = index / half, angle = index % half;
    if (row < begin || row >= end) continue;
    T* const low = shared + row * kStride + angle;
    const float* from = RopeEntries(rope, first + row).cosine(rope, angle);
    float x = to_float(low[0]), y = to_float(low[half]);
    rotate(x, y, from[0], from[half]);
    low[0] = from_float<T>(x);
    low[half] = from_float<T>(y);
  }
}

}  // namespace vistazo::cuda
