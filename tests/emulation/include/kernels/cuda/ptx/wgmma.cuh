#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/base/half.h"
#include "tests/emulation/machine.h"

namespace vistazo::cuda::ptx {

inline void wgmma_fence() {}
inline void wgmma_commit() {
  emulation::commit_products();
}
template <int kPending>
void wgmma_wait() {
  emulation::finish_products(kPending);
}
template <typename T, int kRows, int kColumns>
void hold(T (&)[kRows][kColumns]) {}

template <int kRowBytes>
std::uint64_t wgmma_descriptor(const void* shared, int panel_bytes = 16) {
  static_assert(kRowBytes == 32 || kRowBytes == 64 || kRowBytes == 128);
  constexpr std::uint64_t kSwizzle = kRowBytes == 128 ? 1 : kRowBytes == 64 ? 2 : 3;
  const std::uint64_t address = emulation::shared_number(shared);
  if (address % 16 != 0 || address >= 1 << 18) emulation::fail("a descriptor does not reach this address");
  return address >> 4 | static_cast<std::uint64_t>(panel_bytes >> 4) << 16 | std::uint64_t{8 * kRowBytes >> 4} << 32 |
         kSwizzle << 62;
}
inline std::uint64_t advance(std::uint64_t descriptor, int bytes) {
  return descriptor + static_cast<std::uint64_t>(bytes >> 4);
}

template <auto kToFloat, int kTiles>
void wgmma(float (&d)[kTiles][4], std::uint64_t a, std::uint64_t b, bool is_added) {
  static_assert(kTiles % 4 == 0 && kTiles <= 32);
  emulation::add_product({&d[0][0], a, b, {}, 8 * kTiles, is_added, false, false, kToFloat});
}
template <auto kToFloat, bool kIsTransposed = true, int kTiles>
void wgmma(float (&d)[kTiles][4], const std::uint32_t& a0, const std::uint32_t& a1, const std::uint32_t& a2,
           const std::uint32_t& a3, std::uint64_t b, bool is_added) {
  static_assert(kTiles % 4 == 0 && kTiles <= 32);
  emulation::add_product({&d[0][0], 0, b, {&a0, &a1, &a2, &a3}, 8 * kTiles, is_added, true, kIsTransposed, kToFloat});
}

template <int kTiles, typename... Operands>
void wgmma_f32_f16(float (&d)[kTiles][4], const Operands&... operands) {
  wgmma<float_from_f16>(d, operands...);
}
template <int kTiles, typename... Operands>
void wgmma_f32_bf16(float (&d)[kTiles][4], const Operands&... operands) {
  wgmma<float_from_bf16>(d, operands...);
}
template <int kTiles, typename... Operands>
void wgmma_f32_f16_k_major(float (&d)[kTiles][4], const Operands&... operands) {
  wgmma<float_from_f16, false>(d, operands...);
}
template <int kTiles, typename... Operands>
void wgmma_f32_bf16_k_major(float (&d)[kTiles][4], const Operands&... operands) {
  wgmma<float_from_bf16, false>(d, operands...);
}

}  // namespace vistazo::cuda::ptx
