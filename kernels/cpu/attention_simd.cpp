// Attention of a tile of queries, f32 arithmetic, for any vector unit.
//
// Vectors run over queries. Scores are computed transposed, S^T = K Q^T, and so is the output, O^T = V^T P^T: then a
// row of K or V is read as it lies, one element broadcast at a time (no transposing, no tails in keys or dimensions),
// and the softmax works on whole vectors, one query per lane, without a horizontal sum. Only Q and the output are
// transposed, once per tile. Both Q and K are rotated, where they are, as they are copied.
//
//   for each block of kKeyBlock keys:                      (K and V are copied to scratch as dense rows of f32)
//     for each group of up to kVectors vectors of queries:
//       S^T (keys, queries)  = K Q^T                       registers: kRows x kVectors sums
//       P^T = 2^((S^T - m) * scale * log2 e)               m the running maximum
//       O^T = O^T * 2^((old m - m) * ...) + V^T P^T        same inner loop as K Q^T
//
// Each block sums from zero before it is added, so rounding errors grow with keys / kKeyBlock + kKeyBlock, not with
// keys. Bound by the multiply-add units: a vector of scores takes head_dim + value_dim of them and 16 instructions of
// softmax.
#include "kernels/cpu/attention_tile.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "kernels/base/aligned.h"
#include "kernels/base/half.h"
#include "kernels/cpu/rope-inl.h"

#ifndef VISTAZO_KERNELS_CPU_ATTENTION_SIMD_ONCE
#define VISTAZO_KERNELS_CPU_ATTENTION_SIMD_ONCE
namespace vistazo::cpu {

// Keys per block: the scores of a group (64 x 48 floats, 12 KiB) stay in the first-level cache with its Q^T.
inline constexpr int kKeyBlock = 64;
// Vectors of queries per group. With kRows rows of sums, 24 + 3 + 1 of 32 registers (12 + 3 + 1 of 16).
inline constexpr int kVectors = 3;

// Scratch of one tile, in floats from its start. Sizes are those of a full tile.
struct SimdScratch {
  float *q, *out, *scores, *largest, *sum, *k, *v;
};

inline std::size_t simd_scratch(int head_dim, int value_dim, void* memory, SimdScratch* scratch) {
  std::size_t bytes = 0;
  const auto take = [&](std::size_t floats) {
    float* start = memory == nullptr ? nullptr : reinterpret_cast<float*>(static_cast<std::byte*>(memory) + bytes);
    bytes += align_up(floats * sizeof(float));
    return start;
  };
  const auto d = static_cast<std::size_t>(head_dim), e = static_cast<std::size_t>(value_dim);
  scratch->q = take(kSimdTileQueries * d);
  scratch->out = take(kSimdTileQueries * e);
  scratch->scores = take(kKeyBlock * kSimdQueryStep);
  scratch->largest = take(kSimdTileQueries);
  scratch->sum = take(kSimdTileQueries);
  scratch->k = take(kKeyBlock * d);
  scratch->v = take(kKeyBlock * e);
  return bytes;
}

}  // namespace vistazo::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

using Floats = HWY_CAPPED(float, 16);
using Ints = hn::RebindToSigned<Floats>;
using Vector = hn::Vec<Floats>;

constexpr std::size_t kLanes = hn::MaxLanes(Floats());
constexpr std::size_t kWidth = kVectors * kLanes;  // queries of a full group
// Rows of sums in registers: 32 registers on AVX-512 and NEON, 16 before.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3
constexpr int kRows = 4;
#else
constexpr int kRows = 8;
#endif
static_assert(kSimdTileQueries % kWidth == 0 && kWidth <= kSimdQueryStep);

// A matrix that is read one element at a time: element (row, step) is at data[row * row_stride + step * step_stride].
struct Broadcast {
  const float* data;
  std::ptrdiff_t row_stride, step_stride;
};

// 2^x for x <= 0, and a little above. Relative error 1e-7; x below -100 counts as -100, which is as good as zero next
// to the largest term 1 and keeps clear of subnormal numbers. NaN stays NaN.
HWY_INLINE Vector exp2(Vector x) {
  const Floats d;
  // Adding 1.5 * 2^23 rounds to an integer, which is then in the lowest bits of the sum.
  const Vector rounding = hn::Set(d, 12582912.0f);
  x = hn::Max(hn::Set(d, -100.0f), x);
  const Vector shifted = hn::Add(x, rounding);
  const Vector r = hn::Sub(x, hn::Sub(shifted, rounding));
  // Minimax in [-0.5, 0.5] by the Remez algorithm with 2^0 = 1 exact, relative error 4e-9.
  Vector p = hn::MulAdd(hn::Set(d, 1.5469732e-4f), r, hn::Set(d, 1.3410001e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 9.61803078e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.55029731e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.40226511e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.93147225e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const Ints i;
  return hn::BitCast(d, hn::Add(hn::BitCast(i, p), hn::ShiftLeft<23>(hn::BitCast(i, shifted))));
}

// sums[row][c] = sum over steps of a(row, step) * b[step][c], b a dense (steps, kCount vectors) matrix. Each sum is one
// chain of multiply-adds from step 0, whatever kSumRows and kCount are.
template <int kSumRows, int kCount>
HWY_INLINE void multiply(const Broadcast& a, const float* HWY_RESTRICT b, int steps, Vector (&sums)[kSumRows][kCount]) {
  const Floats d;
  for (int row = 0; row < kSumRows; ++row)
    for (int c = 0; c < kCount; ++c) sums[row][c] = hn::Zero(d);
  const float* HWY_RESTRICT element = a.data;
  for (int step = 0; step < steps; ++step) {
    Vector columns[kCount];
    for (int c = 0; c < kCount; ++c) columns[c] = hn::Load(d, b + c * kLanes);
    for (int row = 0; row < kSumRows; ++row) {
      const Vector value = hn::Set(d, element[row * a.row_stride]);
      for (int c = 0; c < kCount; ++c) sums[row][c] = hn::MulAdd(value, columns[c], sums[row][c]);
    }
    element += a.step_stride;
    b += kCount * kLanes;
  }
}

// Scores of kSumRows keys: stored, and their largest kept in `largest`.
template <int kSumRows, int kCount>
HWY_INLINE void score_rows(const Broadcast& k, const float* q, int head_dim, float* HWY_RESTRICT scores,
                           Vector (&largest)[kCount]) {
  const Floats d;
  Vector sums[kSumRows][kCount];
  multiply(k, q, head_dim, sums);
  for (int row = 0; row < kSumRows; ++row) {
    for (int c = 0; c < kCount; ++c) {
      hn::Store(sums[row][c], d, scores + (row * kCount + c) * kLanes);
      largest[c] = hn::Max(largest[c], sums[row][c]);
    }
  }
}

// kSumRows rows of O^T: scaled to the new shift, and the block's share added.
template <int kSumRows, int kCount>
HWY_INLINE void value_rows(const Broadcast& v, const float* p, int keys, float* HWY_RESTRICT out,
                           const Vector (&rescale)[kCount]) {
  const Floats d;
  Vector sums[kSumRows][kCount];
  multiply(v, p, keys, sums);
  for (int row = 0; row < kSumRows; ++row) {
    for (int c = 0; c < kCount; ++c) {
      float* HWY_RESTRICT o = out + (row * kCount + c) * kLanes;
      hn::Store(hn::MulAdd(hn::Load(d, o), rescale[c], sums[row][c]), d, o);
    }
  }
}

// What a group of queries keeps between blocks of keys.
struct Group {
  const float* q;        // Q^T (head_dim, width)
  float* out;            // O^T (value_dim, width), not yet divided by the sum
  float *largest, *sum;  // (width): the running maximum of the scores and the sum of weights
};

// P^T in place of S^T; brings the group's maximum and sum up to date and returns the factor of older sums.
template <int kCount>
HWY_INLINE void softmax_block(const Group& group, float* HWY_RESTRICT scores, int keys, float scale,
                              Vector (&largest)[kCount], Vector (&rescale)[kCount]) {
  const Floats d;
  const Vector factor = hn::Set(d, scale);
  Vector sum[kCount];
  for (int c = 0; c < kCount; ++c) {
    const Vector old = hn::Load(d, group.largest + c * kLanes);
    largest[c] = hn::Max(old, largest[c]);
    rescale[c] = exp2(hn::Mul(hn::Sub(old, largest[c]), factor));
    hn::Store(largest[c], d, group.largest + c * kLanes);
    sum[c] = hn::Zero(d);
  }
  for (int key = 0; key < keys; ++key) {
    for (int c = 0; c < kCount; ++c) {
      const Vector p = exp2(hn::Mul(hn::Sub(hn::Load(d, scores + c * kLanes), largest[c]), factor));
      sum[c] = hn::Add(sum[c], p);
      hn::Store(p, d, scores + c * kLanes);
    }
    scores += kCount * kLanes;
  }
  for (int c = 0; c < kCount; ++c) {
    float* total = group.sum + c * kLanes;
    hn::Store(hn::MulAdd(hn::Load(d, total), rescale[c], sum[c]), d, total);
  }
}

// Adds a block of keys to a group of kCount vectors of queries.
template <int kCount>
HWY_NOINLINE void add_block(const Group& group, Broadcast k, Broadcast v, int keys, int head_dim, int value_dim,
                            float scale, float* scores) {
  const Floats d;
  constexpr int kStride = kCount * static_cast<int>(kLanes);
  Vector largest[kCount], rescale[kCount];
  for (int c = 0; c < kCount; ++c) largest[c] = hn::Set(d, -FLT_MAX);
  int key = 0;
  for (; key + kRows <= keys; key += kRows) {
    score_rows<kRows>(k, group.q, head_dim, scores + key * kStride, largest);
    k.data += kRows * k.row_stride;
  }
  for (; key < keys; ++key) {
    score_rows<1>(k, group.q, head_dim, scores + key * kStride, largest);
    k.data += k.row_stride;
  }

  softmax_block(group, scores, keys, scale, largest, rescale);

  int e = 0;
  for (; e + kRows <= value_dim; e += kRows) {
    value_rows<kRows>(v, scores, keys, group.out + e * kStride, rescale);
    v.data += kRows * v.row_stride;
  }
  for (; e < value_dim; ++e) {
    value_rows<1>(v, scores, keys, group.out + e * kStride, rescale);
    v.data += v.row_stride;
  }
}

inline float load_element(const float* x) {
  return *x;
}
inline float load_element(const std::uint16_t* x) {
  return float_from_bf16(*x);
}
inline void store_element(float value, float* x) {
  *x = value;
}
inline void store_element(float value, std::uint16_t* x) {
  *x = bf16_from_float(value);
}

// Q^T with the sign of the scale, lanes behind the last query zero.
template <typename T>
void pack_queries(const AttentionTile& tile, int first, int count, int width, float* HWY_RESTRICT q) {
  const float sign = std::signbit(tile.scale) ? -1.0f : 1.0f;
  for (int lane = 0; lane < width; ++lane) {
    const T* HWY_RESTRICT row = static_cast<const T*>(tile.q) + (first + lane) * tile.q_row_stride;
    const float* angles = lane < count ? angles_of(tile, tile.first_query + first + lane) : nullptr;
    if (angles != nullptr) {
      HWY_ALIGN float rotated[kMaxDim];
      rotate_row(row, angles, static_cast<std::size_t>(tile.head_dim / 2), rotated);
      for (int i = 0; i < tile.head_dim; ++i) q[i * width + lane] = sign * rotated[i];
      continue;
    }
    for (int i = 0; i < tile.head_dim; ++i) q[i * width + lane] = lane < count ? sign * load_element(row + i) : 0.0f;
  }
}

template <typename T>
void write_output(const AttentionTile& tile, int first, int count, int width, const Group& group) {
  for (int lane = 0; lane < count; ++lane) {
    T* HWY_RESTRICT row = static_cast<T*>(tile.out) + (first + lane) * tile.out_row_stride;
    const float scale = 1.0f / group.sum[lane];
    for (int i = 0; i < tile.value_dim; ++i) store_element(group.out[i * width + lane] * scale, row + i);
  }
}

// Dense rows of f32. Rows that are a page apart, as in a packed projection of several heads, would miss the address
// translation cache at every pass over the block: copied, f32 runs 10% faster at 1940 tokens of 6 heads, as fast at
// 580. angles(row): the cosines and sines that it is rotated by, or null.
template <typename T, typename Angles>
HWY_INLINE void copy_rows(const T* HWY_RESTRICT from, std::int64_t row_stride, int rows, int cols,
                          float* HWY_RESTRICT to, Angles&& angles) {
  const Floats d;
  const auto columns = static_cast<std::size_t>(cols);
  for (int row = 0; row < rows; ++row, from += row_stride, to += columns) {
    if (const float* turn = angles(row); turn != nullptr) {
      rotate_row(from, turn, columns / 2, to);
      continue;
    }
    std::size_t i = 0;
    for (; i + kLanes <= columns; i += kLanes) {
      if constexpr (sizeof(T) == sizeof(float)) {
        hn::StoreU(hn::LoadU(d, from + i), d, to + i);
      } else {
        const hn::Rebind<std::uint16_t, Floats> d16;
        const hn::RebindToUnsigned<Floats> d32;
        const auto bits = hn::PromoteTo(d32, hn::LoadU(d16, from + i));
        hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(bits)), d, to + i);
      }
    }
    for (; i < columns; ++i) to[i] = load_element(from + i);
  }
}

template <typename T>
void attend(const AttentionTile& tile) {
  constexpr int kGroupQueries = static_cast<int>(kWidth), kMaxGroups = kSimdTileQueries / kGroupQueries;
  SimdScratch scratch;
  simd_scratch(tile.head_dim, tile.value_dim, tile.scratch, &scratch);
  const float scale = std::abs(tile.scale) * 1.44269504f;  // scores in base 2: log2(e)

  Group groups[kMaxGroups];
  int vectors[kMaxGroups];
  int group_count = 0;
  for (int first = 0; first < tile.queries; first += kGroupQueries, ++group_count) {
    const int count = std::min(tile.queries - first, kGroupQueries);
    const int lanes = static_cast<int>(kLanes);
    Group& group = groups[group_count];
    vectors[group_count] = (count + lanes - 1) / lanes;
    const int width = vectors[group_count] * lanes;
    float* q = scratch.q + first * tile.head_dim;
    group = {q, scratch.out + first * tile.value_dim, scratch.largest + first, scratch.sum + first};
    pack_queries<T>(tile, first, count, width, q);
    std::fill_n(group.out, width * tile.value_dim, 0.0f);
    std::fill_n(group.largest, width, -FLT_MAX);
    std::fill_n(group.sum, width, 0.0f);
  }

  for (int first_key = 0; first_key < tile.keys; first_key += kKeyBlock) {
    const int keys = std::min(tile.keys - first_key, kKeyBlock);
    copy_rows(static_cast<const T*>(tile.k) + first_key * tile.k_row_stride, tile.k_row_stride, keys, tile.head_dim,
              scratch.k, [&](int row) { return angles_of(tile, first_key + row); });
    copy_rows(static_cast<const T*>(tile.v) + first_key * tile.v_row_stride, tile.v_row_stride, keys, tile.value_dim,
              scratch.v, [](int) -> const float* { return nullptr; });
    const Broadcast k{scratch.k, tile.head_dim, 1}, v{scratch.v, 1, tile.value_dim};
    for (int g = 0; g < group_count; ++g) {
      const auto add = vectors[g] == 3 ? add_block<3> : vectors[g] == 2 ? add_block<2> : add_block<1>;
      add(groups[g], k, v, keys, tile.head_dim, tile.value_dim, scale, scratch.scores);
    }
  }

  for (int g = 0; g < group_count; ++g) {
    const int first = g * kGroupQueries;
    write_output<T>(tile, first, std::min(tile.queries - first, kGroupQueries), vectors[g] * static_cast<int>(kLanes),
                    groups[g]);
  }
}

void attend_f32(const AttentionTile& tile) {
  attend<float>(tile);
}
void attend_bf16(const AttentionTile& tile) {
  attend<std::uint16_t>(tile);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(attend_f32);
HWY_EXPORT(attend_bf16);

std::size_t attention_simd_scratch_bytes(int head_dim, int value_dim) {
  SimdScratch scratch;
  return simd_scratch(head_dim, value_dim, nullptr, &scratch);
}

void attention_simd(const AttentionTile& tile, DType dtype) {
  if (dtype == DType::f32) {
    HWY_DYNAMIC_DISPATCH(attend_f32)(tile);
  } else {
    HWY_DYNAMIC_DISPATCH(attend_bf16)(tile);
  }
}

}  // namespace vistazo::cpu
#endif
