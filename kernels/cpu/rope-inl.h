// Rotation of a head's row for attention (kernels/rope.h). Included once per SIMD target, by files that use Highway's
// foreach_target.
#if defined(VISTAZO_KERNELS_CPU_ROPE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VISTAZO_KERNELS_CPU_ROPE_INL_H_
#undef VISTAZO_KERNELS_CPU_ROPE_INL_H_
#else
#define VISTAZO_KERNELS_CPU_ROPE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

// As f32, rounded to the type that `type` points to.
template <class D>
HWY_INLINE hn::Vec<D> round_like(D /*d*/, hn::Vec<D> value, const float* /*type*/) {
  return value;
}
template <class D>
HWY_INLINE hn::Vec<D> round_like(D d, hn::Vec<D> value, const std::uint16_t* /*type*/) {
  return hn::BitCast(d, hn::ShiftLeft<16>(bf16_bits(d, value)));
}

// A row of 2 * half elements, rotated by the cosines and sines of its token and rounded to T, as f32 to `to`.
template <typename T>
HWY_INLINE void rotate_row(const T* HWY_RESTRICT row, const float* HWY_RESTRICT angles, std::size_t half,
                           float* HWY_RESTRICT to) {
  const HWY_CAPPED(float, 16) d;
  const std::size_t lanes = hn::Lanes(d);
  const float* HWY_RESTRICT sines = angles + half;
  std::size_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    const auto low = load(d, row + i), high = load(d, row + half + i);
    const auto cosine = load(d, angles + i), sine = load(d, sines + i);
    store(round_like(d, hn::NegMulAdd(high, sine, hn::Mul(low, cosine)), row), d, to + i);
    store(round_like(d, hn::MulAdd(low, sine, hn::Mul(high, cosine)), row), d, to + half + i);
  }
  if (i == half) return;
  const std::size_t rest = half - i;
  const auto low = load_some(d, row + i, rest), high = load_some(d, row + half + i, rest);
  const auto cosine = load_some(d, angles + i, rest), sine = load_some(d, sines + i, rest);
  store_some(round_like(d, hn::NegMulAdd(high, sine, hn::Mul(low, cosine)), row), d, to + i, rest);
  store_some(round_like(d, hn::MulAdd(low, sine, hn::Mul(high, cosine)), row), d, to + half + i, rest);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
