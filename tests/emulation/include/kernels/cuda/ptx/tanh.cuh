#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace vistazo::cuda::ptx {

// Cut off behind 11 bits: as far off as the instruction may be.
inline float tanh_approx(float x) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(std::tanh(x)) & 0xffffe000u);
}

}  // namespace vistazo::cuda::ptx
