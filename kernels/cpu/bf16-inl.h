// Vector loads and stores that convert between bf16 in memory and f32 in registers. Included once per SIMD target, by
// files that use Highway's foreach_target.
#if defined(VISTAZO_KERNELS_CPU_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VISTAZO_KERNELS_CPU_BF16_INL_H_
#undef VISTAZO_KERNELS_CPU_BF16_INL_H_
#else
#define VISTAZO_KERNELS_CPU_BF16_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The 16 bits of each value rounded to bf16, in the low half of its lane. Rounds to nearest, ties to even; a NaN stays
// a NaN. Highway's own DemoteTo rounds differently from target to target.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> bf16_bits(D /*d*/, V value) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fff))));
  const auto quiet_nan = hn::Or(hn::ShiftRight<16>(bits), hn::Set(du, 0x40));
  return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(value)), quiet_nan, rounded);
}

template <class D>
HWY_INLINE hn::Vec<D> load_f32(D d, const float* HWY_RESTRICT from) {
  return hn::LoadU(d, from);
}

template <class D>
HWY_INLINE hn::Vec<D> load_f32(D d, const std::uint16_t* HWY_RESTRICT from) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<std::uint16_t, D> d16;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(d16, from))));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE void store_f32(D d, V value, float* HWY_RESTRICT to) {
  hn::StoreU(value, d, to);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE void store_f32(D d, V value, std::uint16_t* HWY_RESTRICT to) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<std::uint16_t, D> d16;
  // The demotion saturates from signed 32 bits; the values are in 0..65535, so that it changes none of them.
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, bf16_bits(d, value))), d16, to);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
