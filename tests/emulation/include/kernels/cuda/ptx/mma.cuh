#pragma once

#include <cstdint>

#include "kernels/base/half.h"
#include "tests/emulation/machine.h"

namespace vistazo::cuda::ptx {

template <auto kToFloat>
void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  struct Mine {
    float* d;
    const std::uint32_t* a;
    std::uint32_t b[2];
  } mine{d, a, {b0, b1}};
  emulation::collective(~0u, &mine, [](emulation::Lanes lanes) {
    const auto of = [&](int lane) -> Mine& { return *static_cast<Mine*>(lanes[static_cast<std::size_t>(lane)]); };
    const auto half_of = [](std::uint32_t pair, int i) { return kToFloat(static_cast<std::uint16_t>(pair >> 16 * i)); };
    float left[16][16], right[16][8];
    for (int k = 0; k < 16; ++k) {
      for (int row = 0; row < 16; ++row) {
        left[row][k] = half_of(of(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2], k % 2);
      }
      for (int n = 0; n < 8; ++n) right[k][n] = half_of(of(n * 4 + k % 8 / 2).b[k / 8], k % 2);
    }
    for (int row = 0; row < 16; ++row) {
      for (int n = 0; n < 8; ++n) {
        float& sum = of(row % 8 * 4 + n / 2).d[row / 8 * 2 + n % 2];
        for (int k = 0; k < 16; ++k) sum += left[row][k] * right[k][n];
      }
    }
  });
}
inline void mma_m16n8k16_f32_f16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  mma_m16n8k16<float_from_f16>(d, a, b0, b1);
}
inline void mma_m16n8k16_f32_bf16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  mma_m16n8k16<float_from_bf16>(d, a, b0, b1);
}

}  // namespace vistazo::cuda::ptx
