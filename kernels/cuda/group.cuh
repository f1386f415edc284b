#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/cuda/convert.cuh"

// Adjacent elements that a thread moves with one access, as f32 in registers.
namespace vistazo::cuda {

template <typename T, int kCount>
struct alignas(kCount * sizeof(T)) Group {
  T values[kCount];
};

// `from` is aligned to the group's bytes.
template <int kCount, typename T>
__device__ inline void load_group(float (&values)[kCount], const T* from) {
  const auto group = *reinterpret_cast<const Group<T, kCount>*>(from);
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = to_float(group.values[i]);
}

template <int kCount, typename T>
__device__ inline void store_group(T* to, const float (&values)[kCount]) {
  Group<T, kCount> group;
#pragma unroll
  for (int i = 0; i < kCount; ++i) group.values[i] = from_float<T>(values[i]);
  *reinterpret_cast<Group<T, kCount>*>(to) = group;
}

// The same where only the launch knows the type; the branch is the same for all threads. `element` counts elements.
template <int kCount>
__device__ inline void load_group(float (&values)[kCount], const void* data, std::int64_t element, DType dtype) {
  if (dtype == DType::f32) return load_group(values, static_cast<const float*>(data) + element);
  if (dtype == DType::f16) return load_group(values, static_cast<const __half*>(data) + element);
  load_group(values, static_cast<const __nv_bfloat16*>(data) + element);
}

template <int kCount>
__device__ inline void store_group(void* data, std::int64_t element, DType dtype, const float (&values)[kCount]) {
  if (dtype == DType::f32) return store_group(static_cast<float*>(data) + element, values);
  if (dtype == DType::f16) return store_group(static_cast<__half*>(data) + element, values);
  store_group(static_cast<__nv_bfloat16*>(data) + element, values);
}

// Whether every group of `count` elements that starts at a multiple of `count` in a row is aligned.
inline bool are_groups_aligned(int count, const void* data, std::int64_t row_stride, DType dtype) {
  return reinterpret_cast<std::uintptr_t>(data) % (static_cast<std::size_t>(count) * size_of(dtype)) == 0 &&
         row_stride % count == 0;
}

// Elements that a thread moves: eight, 16 bytes of 16-bit types, where so many threads are enough to fill the chip;
// else four, or one. fits(count): whether every operand has whole and aligned groups of so many.
template <typename Fits>
int choose_group(std::int64_t elements, Fits&& fits) {
  constexpr std::int64_t kMany = 1 << 19;  // with four for each, more threads than an H200 holds at once
  if (elements >= kMany && fits(8)) return 8;
  return fits(4) ? 4 : 1;
}

inline bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

}  // namespace vistazo::cuda
