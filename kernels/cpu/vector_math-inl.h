// Vector arithmetic that the SIMD kernels share: exp, erf, activations, and bf16-inl.h. Files that use foreach_target.h
// include it once per target, hence the guard that toggles.

#if defined(VISTAZO_KERNELS_CPU_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VISTAZO_KERNELS_CPU_VECTOR_MATH_INL_H_
#undef VISTAZO_KERNELS_CPU_VECTOR_MATH_INL_H_
#else
#define VISTAZO_KERNELS_CPU_VECTOR_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/cpu/bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The first `count` < Lanes(d) elements; the other lanes load as zero and are not stored.
template <class D, typename T>
HWY_INLINE hn::Vec<D> load_some(D d, const T* from, std::size_t count) {
  HWY_ALIGN T lanes[hn::MaxLanes(D())] = {};
  for (std::size_t i = 0; i < count; ++i) lanes[i] = from[i];
  return load(d, lanes);
}

template <class D, typename T>
HWY_INLINE void store_some(hn::Vec<D> value, D d, T* to, std::size_t count) {
  HWY_ALIGN T lanes[hn::MaxLanes(D())];
  store(value, d, lanes);
  for (std::size_t i = 0; i < count; ++i) to[i] = lanes[i];
}

// value * 2^power, for a whole power in [-252, 254]: two factors of half the exponent each, since one alone would
// overflow for subnormal results and at 128.
template <class D>
HWY_INLINE hn::Vec<D> scale_by_power(D d, hn::Vec<D> value, hn::Vec<D> power) {
  const hn::RebindToSigned<D> integer;
  const auto exponent = hn::ConvertTo(integer, power);
  const auto half = hn::ShiftRight<1>(exponent);
  const auto bias = hn::Set(integer, 127);
  const auto low = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const auto high = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::Sub(exponent, half), bias)));
  return hn::Mul(hn::Mul(value, low), high);
}

// 2^x for x in [-126, 127.99]; 0 below -127, infinity from 128 on, NaN for NaN. Relative error below 2e-7: x is split
// into an integer, which becomes the exponent, and a rest in [-1/2, 1/2], for which the Taylor series of 2^r to the
// seventh power is exact to 2^-27.
template <class D>
HWY_INLINE hn::Vec<D> exp2(D d, hn::Vec<D> x) {
  // Min and Max may drop a NaN; the last select brings it back.
  const auto clamped = hn::Min(hn::Max(x, hn::Set(d, -150.0f)), hn::Set(d, 129.0f));
  const auto whole = hn::Round(clamped);
  const auto rest = hn::Sub(clamped, whole);
  auto sum = hn::Set(d, 1.52527338e-5f);  // ln(2)^n / n!, n = 7 .. 0
  sum = hn::MulAdd(sum, rest, hn::Set(d, 1.54035304e-4f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 1.33335581e-3f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 9.61812911e-3f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 5.55041087e-2f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 2.40226507e-1f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 6.93147181e-1f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 1.0f));
  return hn::IfThenElse(hn::IsNaN(x), x, scale_by_power(d, sum, whole));
}

// e^x, relative error below 2e-7 where the result is normal; 0 and infinity outside the range of f32, NaN for NaN.
// As exp2, but the rest is x - n ln(2), with ln(2) in two parts so that it keeps its bits for a large n.
template <class D>
HWY_INLINE hn::Vec<D> exp(D d, hn::Vec<D> x) {
  const auto clamped = hn::Min(hn::Max(x, hn::Set(d, -104.0f)), hn::Set(d, 89.0f));
  const auto whole = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504f)));
  auto rest = hn::NegMulAdd(whole, hn::Set(d, 0.693359375f), clamped);  // 9 bits: exact products
  rest = hn::NegMulAdd(whole, hn::Set(d, -2.12194440e-4f), rest);
  auto sum = hn::Set(d, 1.0f / 5040.0f);
  sum = hn::MulAdd(sum, rest, hn::Set(d, 1.0f / 720.0f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 1.0f / 120.0f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 1.0f / 24.0f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 1.0f / 6.0f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 0.5f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 1.0f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 1.0f));
  return hn::IfThenElse(hn::IsNaN(x), x, scale_by_power(d, sum, whole));
}

// erf(x), absolute error below 2e-7: x P(x^2) / Q(x^2), a minimax fit on [-3.93, 3.93] with error 1.7e-8 before
// rounding (all coefficients are positive, so nothing cancels). Beyond, erf is +-1 in f32.
template <class D>
HWY_INLINE hn::Vec<D> erf(D d, hn::Vec<D> x) {
  const auto s = hn::Mul(x, x);
  auto p = hn::Set(d, 2.026923102e-6f);
  auto q = hn::Set(d, 3.798427228e-5f);
  p = hn::MulAdd(p, s, hn::Set(d, 2.873717869e-4f));
  q = hn::MulAdd(q, s, hn::Set(d, 1.190431627e-3f));
  p = hn::MulAdd(p, s, hn::Set(d, 3.880864751e-3f));
  q = hn::MulAdd(q, s, hn::Set(d, 1.519770674e-2f));
  p = hn::MulAdd(p, s, hn::Set(d, 5.309783205e-2f));
  q = hn::MulAdd(q, s, hn::Set(d, 1.15219336e-1f));
  p = hn::MulAdd(p, s, hn::Set(d, 1.931078538e-1f));
  q = hn::MulAdd(q, s, hn::Set(d, 5.044690385e-1f));
  p = hn::MulAdd(p, s, hn::Set(d, 1.128379023f));
  q = hn::MulAdd(q, s, hn::Set(d, 1.0f));
  const auto one = hn::CopySign(hn::Set(d, 1.0f), x);
  return hn::IfThenElse(hn::Gt(hn::Abs(x), hn::Set(d, 3.93f)), one, hn::Div(hn::Mul(x, p), q));
}

template <class D>
HWY_INLINE hn::Vec<D> silu(D d, hn::Vec<D> x) {
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exp(d, hn::Neg(x))));
}

// x/2 (1 + erf(x / sqrt(2))).
template <class D>
HWY_INLINE hn::Vec<D> gelu(D d, hn::Vec<D> x) {
  const auto half = hn::Mul(x, hn::Set(d, 0.5f));
  return hn::MulAdd(half, erf(d, hn::Mul(x, hn::Set(d, 0.70710678f))), half);
}

// max(x, 0) that keeps a NaN.
template <class D>
HWY_INLINE hn::Vec<D> relu(D d, hn::Vec<D> x) {
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x);
}

template <Activation kActivation, class D>
HWY_INLINE hn::Vec<D> activate(D d, hn::Vec<D> x) {
  if constexpr (kActivation == Activation::relu) return relu(d, x);
  if constexpr (kActivation == Activation::silu) return silu(d, x);
  if constexpr (kActivation == Activation::gelu) return gelu(d, x);
  return x;
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // VISTAZO_KERNELS_CPU_VECTOR_MATH_INL_H_
