// One sine and one cosine of the same angle per pair of outputs: a shared range reduction and two polynomials, a vector
// of frequencies at a time. A task owns a chunk of rows. Limited by arithmetic (some 25 instructions a vector).
//
// Angles follow the original's arithmetic in f32, (2 pi v) / t^(2i/dim), since the rounding of an angle of 6 is already
// larger than that of its sine.
#include "kernels/sine_embedding.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/sine_embedding.cpp"
// clang-format off
#include "hwy/foreach_target.h"
// clang-format on
#include "hwy/highway.h"
#include "kernels/base/half.h"
#include "kernels/cpu/bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

// Sine and cosine after reduction to [-pi/4, pi/4] in three steps (Cody & Waite): the first parts of pi/2 have 8 and 11
// significant bits, so that their products with the quadrant are exact while it has at most 12 bits, |x| < 6000.
// Polynomials are Taylor's: the first omitted terms at pi/4 are 2e-9 (sine) and 1e-10 (cosine), far below 2^-24.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void sine_cosine(D d, V x, V& sine, V& cosine) {
  const hn::RebindToSigned<D> di;
  const auto quadrant = hn::Round(hn::Mul(x, hn::Set(d, 2.0f / std::numbers::pi_v<float>)));
  auto r = hn::NegMulAdd(quadrant, hn::Set(d, 1.5703125f), x);
  r = hn::NegMulAdd(quadrant, hn::Set(d, 4.837512969970703125e-4f), r);
  r = hn::NegMulAdd(quadrant, hn::Set(d, 7.54978995489188217e-8f), r);
  const auto r2 = hn::Mul(r, r);

  auto s = hn::MulAdd(r2, hn::Set(d, 1.0f / 362880), hn::Set(d, -1.0f / 5040));
  s = hn::MulAdd(r2, s, hn::Set(d, 1.0f / 120));
  s = hn::MulAdd(r2, s, hn::Set(d, -1.0f / 6));
  s = hn::MulAdd(hn::Mul(r2, r), s, r);
  auto c = hn::MulAdd(r2, hn::Set(d, -1.0f / 3628800), hn::Set(d, 1.0f / 40320));
  c = hn::MulAdd(r2, c, hn::Set(d, -1.0f / 720));
  c = hn::MulAdd(r2, c, hn::Set(d, 1.0f / 24));
  c = hn::MulAdd(r2, c, hn::Set(d, -0.5f));
  c = hn::MulAdd(r2, c, hn::Set(d, 1.0f));

  // Quadrants 1 and 3 swap the two; bit 1 of the quadrant is the sign of the sine, that of quadrant + 1 the cosine's.
  const auto q = hn::ConvertTo(di, quadrant);
  const auto one = hn::Set(di, 1);
  const auto is_swapped = hn::RebindMask(d, hn::Eq(hn::And(q, one), one));
  const auto sine_sign = hn::BitCast(d, hn::ShiftLeft<30>(hn::AndNot(one, q)));
  const auto cosine_sign = hn::BitCast(d, hn::ShiftLeft<30>(hn::AndNot(one, hn::Add(q, one))));
  const auto sign_bit = hn::SignBit(d);
  sine = hn::Xor(hn::IfThenElse(is_swapped, c, s), hn::And(sine_sign, sign_bit));
  cosine = hn::Xor(hn::IfThenElse(is_swapped, s, c), hn::And(cosine_sign, sign_bit));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE void store_pairs(D d, V sine, V cosine, float* to) {
  hn::StoreInterleaved2(sine, cosine, d, to);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE void store_pairs(D d, V sine, V cosine, std::uint16_t* to) {
  const auto low = bf16_bits(d, sine), high = bf16_bits(d, cosine);
  if constexpr (hn::MaxLanes(D()) == 1) {
    to[0] = static_cast<std::uint16_t>(hn::GetLane(low));
    to[1] = static_cast<std::uint16_t>(hn::GetLane(high));
  } else {
    const hn::Repartition<std::uint16_t, D> d16;
    hn::StoreU(hn::BitCast(d16, hn::Or(low, hn::ShiftLeft<16>(high))), d16, to);
  }
}

inline void store_scalar(float value, float* to) {
  *to = value;
}

inline void store_scalar(float value, std::uint16_t* to) {
  *to = bf16_from_float(value);
}

// `pairs` sines and cosines of phase / divisor. Vectors with an angle beyond the range reduction go value by value.
template <typename T>
void embed(float phase, const float* HWY_RESTRICT divisors, int pairs, T* HWY_RESTRICT to) {
  const hn::ScalableTag<float> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto one_by_one = [&](int begin, int end) {
    for (int i = begin; i < end; ++i) {
      store_scalar(std::sin(phase / divisors[i]), to + 2 * i);
      store_scalar(std::cos(phase / divisors[i]), to + 2 * i + 1);
    }
  };
  int i = 0;
  for (; i + lanes <= pairs; i += lanes) {
    const auto angle = hn::Div(hn::Set(d, phase), hn::LoadU(d, divisors + i));
    if (!hn::AllTrue(d, hn::Lt(hn::Abs(angle), hn::Set(d, 6000.0f)))) {
      one_by_one(i, i + lanes);
      continue;
    }
    hn::Vec<decltype(d)> sine, cosine;
    sine_cosine(d, angle, sine, cosine);
    store_pairs(d, sine, cosine, to + 2 * i);
  }
  one_by_one(i, pairs);
}

void embed_f32(float phase, const float* divisors, int pairs, float* to) {
  embed(phase, divisors, pairs, to);
}

void embed_bf16(float phase, const float* divisors, int pairs, std::uint16_t* to) {
  embed(phase, divisors, pairs, to);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(embed_f32);
HWY_EXPORT(embed_bf16);

namespace {

constexpr int kBlockPairs = 256;    // divisors on the stack at a time; no model has more
constexpr std::int64_t kChunk = 8;  // rows of a task: some 2 us

template <typename T, typename Embed>
void embed_rows(const SineEmbeddingArgs& args, const ThreadPool& pool, Embed embed) {
  constexpr int kOrder[4] = {1, 0, 2, 3};  // y, x, w, h
  const int half = args.dim / 2;
  for (int begin = 0; begin < half; begin += kBlockPairs) {
    const int pairs = std::min(kBlockPairs, half - begin);
    float divisors[kBlockPairs];
    for (int i = 0; i < pairs; ++i) {
      divisors[i] = static_cast<float>(std::pow(static_cast<double>(args.temperature), 2.0 * (begin + i) / args.dim));
    }
    pool.for_each((args.rows + kChunk - 1) / kChunk, [&](std::int64_t chunk, int) {
      for (std::int64_t row = chunk * kChunk; row < std::min(args.rows, (chunk + 1) * kChunk); ++row) {
        T* to = static_cast<T*>(args.y) + row * 4 * args.dim + 2 * begin;
        for (int part = 0; part < 4; ++part) {
          const float phase = args.boxes[row * 4 + kOrder[part]] * (2.0f * std::numbers::pi_v<float>);
          embed(phase, divisors, pairs, to + std::int64_t{part} * args.dim);
        }
      }
    });
  }
}

}  // namespace

void sine_embedding(const SineEmbeddingArgs& args, const ThreadPool& pool) {
  if (args.rows < 0 || args.dim < 2 || args.dim % 2 != 0 || !(args.temperature > 0.0f)) {
    fail(Error::Code::argument, "sine_embedding: rows {}, dim {} (even is wanted), temperature {}", args.rows, args.dim,
         args.temperature);
  }
  switch (args.y_dtype) {
    case DType::f32:
      return embed_rows<float>(args, pool, HWY_DYNAMIC_DISPATCH(embed_f32));
    case DType::bf16:
      return embed_rows<std::uint16_t>(args, pool, HWY_DYNAMIC_DISPATCH(embed_bf16));
    default:
      fail(Error::Code::unsupported, "sine_embedding: output of {}; f32 or bf16 are wanted", name_of(args.y_dtype));
  }
}

}  // namespace vistazo::cpu
#endif
