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

// Elements of f32 or bf16 (as its bits), loaded to f32 and stored rounded to nearest even. Highway 1.0.3's own bf16
// conversion truncates.
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* from) {
  return hn::LoadU(d, from);
}

template <class D>
HWY_INLINE hn::Vec<D> load([[maybe_unused]] D d, const std::uint16_t* from) {
  const hn::Rebind<std::uint16_t, D> half;
  const hn::Rebind<std::uint32_t, D> bits;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(half, from))));
}

template <class D>
HWY_INLINE void store(hn::Vec<D> value, D d, float* to) {
  hn::StoreU(value, d, to);
}

// The 16 bits of each value rounded to bf16, in the low half of its lane.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> bf16_bits(D /*d*/, hn::Vec<D> value) {
  const hn::RebindToUnsigned<D> unsigned_tag;
  const auto bits = hn::BitCast(unsigned_tag, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(unsigned_tag, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(unsigned_tag, 0x7fff)), odd));
  // Rounding could carry a NaN's fraction over to infinity: keep its upper bits and set the quiet one.
  const auto quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(unsigned_tag, 0x40));
  return hn::IfThenElse(hn::RebindMask(unsigned_tag, hn::IsNaN(value)), quiet, rounded);
}

template <class D>
HWY_INLINE void store(hn::Vec<D> value, D d, std::uint16_t* to) {
  const hn::Rebind<std::uint16_t, D> half;
  const hn::RebindToSigned<D> signed_tag;
  // The demotion saturates from signed 32 bits; the values are in 0..65535, so it changes none of them.
  hn::StoreU(hn::DemoteTo(half, hn::BitCast(signed_tag, bf16_bits(d, value))), half, to);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
