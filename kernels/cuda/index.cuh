#pragma once

#include <cstdint>

namespace vistazo::cuda {

struct Quotient {
  std::int64_t quotient;
  int rest;
};

// Of an index by a size, both not negative. In 32 bits where they are enough: a 64-bit division is some 70
// instructions.
__device__ inline Quotient divide(std::int64_t index, int size) {
  if (index >> 32 == 0) {
    const auto narrow = static_cast<std::uint32_t>(index), divisor = static_cast<std::uint32_t>(size);
    const std::uint32_t quotient = narrow / divisor;
    return {quotient, static_cast<int>(narrow - quotient * divisor)};
  }
  const std::int64_t quotient = index / size;
  return {quotient, static_cast<int>(index - quotient * size)};
}

// The thread's number in a grid of blocks of kThreads.
template <int kThreads>
__device__ inline std::int64_t thread_of_grid() {
  return static_cast<std::int64_t>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
}

constexpr std::int64_t ceil_divide(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

}  // namespace vistazo::cuda
