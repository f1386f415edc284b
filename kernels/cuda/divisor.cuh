#pragma once

#include <cuda_runtime.h>

#include <bit>
#include <cstdint>

namespace vistazo::cuda {

// Divides indices by a number that is known at the launch: a multiplication and a shift instead of some 30 instructions
// that wait for each other. floor(n m / 2^(31 + s)) with m = floor(2^(31 + s) / d) + 1 and 2^s >= d is n / d for all n
// below 2^31, as then n (m d - 2^(31 + s)) <= 2^(31 + s) (Granlund & Montgomery 1994, theorem 4.2).
class Divisor {
 public:
  Divisor() = default;
  // At least 1.
  explicit Divisor(int divisor)
      : divisor_(divisor), shift_(31 + std::bit_width(static_cast<std::uint32_t>(divisor - 1))) {
    multiplier_ = static_cast<std::uint32_t>((std::uint64_t{1} << shift_) / static_cast<std::uint32_t>(divisor) + 1);
  }

  struct Result {
    int quotient, rest;
  };
  // Of an index that is not negative.
  __device__ Result divide(int index) const {
    const auto quotient = static_cast<int>(std::uint64_t{static_cast<std::uint32_t>(index)} * multiplier_ >> shift_);
    return {quotient, index - quotient * divisor_};
  }

 private:
  int divisor_ = 1, shift_ = 31;
  std::uint32_t multiplier_ = 0x80000001u;
};

}  // namespace vistazo::cuda
