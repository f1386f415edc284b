#pragma once

#include <cstdint>
#include <cstring>

#include "tests/emulation/machine.h"

namespace vistazo::cuda::ptx {

template <bool kIsTransposed>
void ldmatrix(std::uint32_t (&r)[4], const void* shared_row) {
  struct Mine {
    const unsigned char* row;
    std::uint32_t* r;
  } mine{static_cast<const unsigned char*>(shared_row), r};
  if (reinterpret_cast<std::uintptr_t>(shared_row) % 16 != 0) emulation::fail("ldmatrix of a row that is not aligned");
  emulation::collective(~0u, &mine, [](emulation::Lanes lanes) {
    const auto element = [&](int matrix, int row, int column) {
      std::uint16_t bits;
      std::memcpy(&bits, static_cast<Mine*>(lanes[static_cast<std::size_t>(matrix * 8 + row)])->row + 2 * column, 2);
      return std::uint32_t{bits};
    };
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, t = lane % 4;
      for (int i = 0; i < 4; ++i) {
        const std::uint32_t low = kIsTransposed ? element(i, 2 * t, g) : element(i, g, 2 * t);
        const std::uint32_t high = kIsTransposed ? element(i, 2 * t + 1, g) : element(i, g, 2 * t + 1);
        static_cast<Mine*>(lanes[static_cast<std::size_t>(lane)])->r[i] = low | high << 16;
      }
    }
  });
}
inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* shared_row) {
  ldmatrix<false>(r, shared_row);
}
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* shared_row) {
  ldmatrix<true>(r, shared_row);
}

}  // namespace vistazo::cuda::ptx
