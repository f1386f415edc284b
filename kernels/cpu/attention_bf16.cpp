// Attention of a tile of queries in bf16: products on Intel's AMX unit or by AVX512-BF16's dot products, softmax on
// AVX-512.
//
// Like attention_simd.cpp, scores and output are computed transposed, S^T = K Q^T and O^T = V^T P^T, so that the
// softmax holds one query per lane and needs no sum across lanes; and two rows of 2^S^T side by side, rounded to bf16,
// already are a row of the second product's right operand. Left operands are plain rows: K is copied, V transposed,
// once per block of keys and tile of up to 512 queries. All operands are stored as 1 KiB AMX tiles: 16 rows of 64
// bytes. Rows of Q and K that are to be rotated are rotated on the way, in the first-level cache.
//
//   for each block of kKeyBlock keys:
//     for each group of 32 queries:   scores, their maximum, weights, weighted values
//
// The softmax limits it. Measured on a Xeon with AMX: a tile product occupies the port of the second 512-bit
// floating-point unit, so that products and softmax side by side take the sum of their times; they are therefore kept
// apart, with all of a group's data in the first-level cache, and the softmax is made short: 8 floating-point
// instructions per 16 scores.
//
// Weights are rounded to bf16, and the sum is that of the rounded ones: then they sum to one, and what rounding adds to
// all weights alike cancels. The exponent's shift follows the running maximum only when that has risen by more than
// kSlack: weights then reach 2^kSlack, which costs no precision, and older sums are rarely scaled.
#include "kernels/cpu/attention_tile.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/base/aligned.h"

// GCC 12 takes the deliberately undefined operands inside its own intrinsics for mistakes (GCC bug 105593).
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

// The build as a whole has no such flags: these functions run only where the processor was asked. AMX instructions are
// in functions of Amx only, which the other unit does not call.
#define VISTAZO_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")))
#define VISTAZO_BF16_INLINE VISTAZO_BF16 __attribute__((always_inline)) inline

namespace vistazo::cpu {
namespace {

using Bf16 = std::uint16_t;

constexpr int kTileRows = 16;
constexpr int kTilePairs = 16;              // columns of 32 bits: one f32, or two bf16 that lie along the sum
constexpr int kTileDepth = 2 * kTilePairs;  // bf16 along the sum
constexpr std::size_t kTileBytes = 1024;
constexpr int kTileFloats = 256, kTileHalves = 512;
// Two tiles of queries, with two of keys or values: 4 of the 8 tile registers are sums, so that 4 products need 4
// loads.
constexpr int kGroupQueries = 2 * kTileRows;
// Keys per block. At head_dim 64: 16 KiB each of scores, K and V^T, 8 of weights, 12 of the group's Q^T and O^T, of
// which most stay in a first-level cache of 48. Half as many were 5 to 10% slower: O^T is then read and written twice
// as often.
constexpr int kKeyBlock = 128;
constexpr int kChunks = kKeyBlock / kTileDepth;
// Stands for the score of a key behind the last one: 2^ of it is zero at any scale but those below kMinFactor.
constexpr float kNoScore = -3e38f;
constexpr float kMinFactor = 1e-30f;
constexpr float kSlack = 8.0f;

struct Scratch {
  Bf16* q;             // Q^T: (groups, 2, head_dim / 32) tiles
  float* out;          // O^T: (groups, value_dim / 16, 2) tiles, not yet divided by the sum
  float *shift, *sum;  // (queries): base-2 exponent that weights are relative to, sum of the weights
  float* scores;       // S^T of a group: (keys / 16, 2) tiles
  Bf16* weights;       // P^T: (2, keys / 32) tiles
  Bf16* k;             // (keys / 16, head_dim / 32) tiles
  Bf16* v;             // V^T: (value_dim / 16, keys / 32) tiles
};

constexpr int ceil_divide(int a, int b) {
  return (a + b - 1) / b;
}

std::size_t lay_out(int head_dim, int value_dim, void* memory, Scratch* scratch) {
  std::size_t bytes = 0;
  const auto take = [&](auto*& pointer, int tiles) {
    if (memory != nullptr) {
      pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(static_cast<std::byte*>(memory) + bytes);
    }
    bytes += static_cast<std::size_t>(tiles) * kTileBytes;
  };
  const int depth = ceil_divide(head_dim, kTileDepth), rows = ceil_divide(value_dim, kTileRows);
  constexpr int kQueryTiles = kBf16TileQueries / kTileRows, kKeyTiles = kKeyBlock / kTileRows;
  take(scratch->q, kQueryTiles * depth);
  take(scratch->out, kQueryTiles * rows);
  take(scratch->shift, ceil_divide(kBf16TileQueries, kTileFloats));
  take(scratch->sum, ceil_divide(kBf16TileQueries, kTileFloats));
  take(scratch->scores, kKeyTiles * 2);
  take(scratch->weights, kChunks * 2);
  take(scratch->k, kKeyTiles * depth);
  take(scratch->v, kChunks * rows);
  return bytes;
}

// Transposes 16 x 16 elements of 32 bits in registers: pairs, quadruples, then 128-bit parts.
VISTAZO_BF16_INLINE void transpose(__m512i (&x)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    x[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    x[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    x[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// The bits of the first `count` of 32 elements.
VISTAZO_BF16_INLINE __mmask32 first_lanes(int count) {
  return count >= 32 ? ~__mmask32{0} : count <= 0 ? 0 : static_cast<__mmask32>((1u << count) - 1u);
}

// 32 elements as f32.
struct Floats32 {
  __m512 low, high;
};
VISTAZO_BF16_INLINE __m512 widen(__m256i half) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
VISTAZO_BF16_INLINE Floats32 load_floats(const Bf16* from, __mmask32 mask) {
  const __m512i bits = _mm512_maskz_loadu_epi16(mask, from);
  return {widen(_mm512_castsi512_si256(bits)), widen(_mm512_extracti64x4_epi64(bits, 1))};
}
VISTAZO_BF16_INLINE Floats32 load_floats(const float* from, __mmask32 mask) {
  return {_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from),
          _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), from + 16)};
}

// The row of a token, or `rotated` with what rotation (kernels/rope.h) makes of it.
VISTAZO_BF16_INLINE const Bf16* rotate_row(const AttentionTile& tile, int token, const Bf16* row, Bf16* rotated) {
  const float* cosines = angles_of(tile, token);
  if (cosines == nullptr) return row;
  const int half = tile.head_dim / 2;
  const float* sines = cosines + half;
  for (int i = 0; i < half; i += kTileDepth) {
    const __mmask32 mask = first_lanes(half - i);
    const Floats32 a = load_floats(row + i, mask), b = load_floats(row + half + i, mask);
    const Floats32 cosine = load_floats(cosines + i, mask), sine = load_floats(sines + i, mask);
    const __m512bh low = _mm512_cvtne2ps_pbh(_mm512_fnmadd_ps(b.high, sine.high, _mm512_mul_ps(a.high, cosine.high)),
                                             _mm512_fnmadd_ps(b.low, sine.low, _mm512_mul_ps(a.low, cosine.low)));
    const __m512bh high = _mm512_cvtne2ps_pbh(_mm512_fmadd_ps(a.high, sine.high, _mm512_mul_ps(b.high, cosine.high)),
                                              _mm512_fmadd_ps(a.low, sine.low, _mm512_mul_ps(b.low, cosine.low)));
    _mm512_mask_storeu_epi16(rotated + i, mask, (__m512i)low);
    _mm512_mask_storeu_epi16(rotated + half + i, mask, (__m512i)high);
  }
  return rotated;
}

// Q^T of all groups, with the sign of the scale. Queries and dimensions behind the last are zero.
VISTAZO_BF16 void pack_queries(const AttentionTile& tile, Bf16* to) {
  const auto* q = static_cast<const Bf16*>(tile.q);
  const __m512i sign = _mm512_set1_epi16(std::signbit(tile.scale) ? static_cast<short>(0x8000) : short{0});
  const int padded = ceil_divide(tile.queries, kGroupQueries) * kGroupQueries;
  alignas(64) Bf16 rotated[kTileRows][kMaxDim];
  for (int first = 0; first < padded; first += kTileRows) {
    const int queries = std::min(tile.queries - first, kTileRows);
    const Bf16* from[kTileRows];
    for (int i = 0; i < kTileRows; ++i) {
      from[i] = i < queries
                    ? rotate_row(tile, tile.first_query + first + i, q + (first + i) * tile.q_row_stride, rotated[i])
                    : q;
    }
    for (int d = 0; d < tile.head_dim; d += kTileDepth, to += kTileHalves) {
      const __mmask32 mask = first_lanes(tile.head_dim - d);
      __m512i rows[16];
      for (int i = 0; i < 16; ++i) {
        rows[i] = _mm512_maskz_loadu_epi16(i < queries ? mask : 0, from[i] + d);
        rows[i] = _mm512_xor_si512(rows[i], sign);
      }
      transpose(rows);
      for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * kTileDepth, rows[i]);
    }
  }
}

// Keys [first, first + keys) as rows of tiles; those behind the last are zero.
VISTAZO_BF16 void pack_keys(const AttentionTile& tile, int first, int keys, Bf16* to) {
  const auto* k = static_cast<const Bf16*>(tile.k) + first * tile.k_row_stride;
  const int depth = ceil_divide(tile.head_dim, kTileDepth);
  const int padded = ceil_divide(keys, kTileDepth) * kTileDepth;
  alignas(64) Bf16 rotated[kMaxDim];
  for (int key = 0; key < padded; ++key) {
    Bf16* row = to + key / kTileRows * depth * kTileHalves + key % kTileRows * kTileDepth;
    const Bf16* from = key < keys ? rotate_row(tile, first + key, k + key * tile.k_row_stride, rotated) : k;
    for (int d = 0; d < depth; ++d) {
      const __mmask32 mask = key < keys ? first_lanes(tile.head_dim - d * kTileDepth) : 0;
      _mm512_store_si512(row + d * kTileHalves, _mm512_maskz_loadu_epi16(mask, from + d * kTileDepth));
    }
  }
}

VISTAZO_BF16_INLINE __m256i load_values(const Bf16* v, std::int64_t row_stride, int key, int keys, __mmask16 mask) {
  return key < keys ? _mm256_maskz_loadu_epi16(mask, v + key * row_stride) : _mm256_setzero_si256();
}

// V^T of keys [first, first + keys): a tile row is one dimension of 32 keys. Keys behind the last are zero.
VISTAZO_BF16 void pack_values(const AttentionTile& tile, int first, int keys, Bf16* to) {
  const auto* v = static_cast<const Bf16*>(tile.v) + first * tile.v_row_stride;
  for (int e = 0; e < tile.value_dim; e += kTileRows) {
    const auto mask = static_cast<__mmask16>(first_lanes(std::min(tile.value_dim - e, kTileRows)));
    for (int chunk = 0; chunk * kTileDepth < keys; ++chunk) {
      __m512i pairs[16];
      for (int i = 0; i < 16; ++i) {
        const int key = chunk * kTileDepth + 2 * i;
        const __m256i even = load_values(v + e, tile.v_row_stride, key, keys, mask);
        const __m256i odd = load_values(v + e, tile.v_row_stride, key + 1, keys, mask);
        pairs[i] = _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
      }
      transpose(pairs);
      Bf16* rows = to + (e / kTileRows * kChunks + chunk) * kTileHalves;
      for (int i = 0; i < 16; ++i) _mm512_store_si512(rows + i * kTileDepth, pairs[i]);
    }
  }
}

// The units that multiply tiles: c (kRows, 2 tiles) = or += sum over steps of a (kRows rows of consecutive tiles, which
// are row_tiles apart) * b (2 columns, likewise).
struct Product {
  const Bf16* a;
  int a_row_tiles;
  const Bf16* b;
  int b_column_tiles;
  int steps;
  float* c;
  bool is_added;
};

struct Amx {
  VISTAZO_BF16 static void start() {
    alignas(64) std::uint8_t config[64] = {1};  // palette 1
    for (int i = 0; i < 8; ++i) {
      config[16 + 2 * i] = 64;  // bytes a row
      config[48 + i] = kTileRows;
    }
    _tile_loadconfig(config);
  }
  VISTAZO_BF16 static void stop() { _tile_release(); }

  template <int kRows>
  VISTAZO_BF16_INLINE static void multiply(const Product& p) {
    // Some compilers do not know that loading a tile reads memory: what was stored before must be there.
    asm volatile("" ::: "memory");
    if (p.is_added) {
      _tile_loadd(0, p.c, 64);
      _tile_loadd(1, p.c + kTileFloats, 64);
      if constexpr (kRows == 2) _tile_loadd(2, p.c + 2 * kTileFloats, 64);
      if constexpr (kRows == 2) _tile_loadd(3, p.c + 3 * kTileFloats, 64);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      if constexpr (kRows == 2) _tile_zero(2);
      if constexpr (kRows == 2) _tile_zero(3);
    }
    const Bf16* a1 = p.a + p.a_row_tiles * kTileHalves;
    const Bf16* b1 = p.b + p.b_column_tiles * kTileHalves;
    for (int offset = 0; offset < p.steps * kTileHalves; offset += kTileHalves) {
      _tile_loadd(4, p.a + offset, 64);
      _tile_loadd(6, p.b + offset, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, b1 + offset, 64);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (kRows == 2) {
        _tile_loadd(5, a1 + offset, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
    _tile_stored(0, p.c, 64);
    _tile_stored(1, p.c + kTileFloats, 64);
    if constexpr (kRows == 2) _tile_stored(2, p.c + 2 * kTileFloats, 64);
    if constexpr (kRows == 2) _tile_stored(3, p.c + 3 * kTileFloats, 64);
  }
};

struct DotProducts {
  static void start() {}
  static void stop() {}

  template <int kRows>
  VISTAZO_BF16 static void multiply(const Product& p) {
    constexpr int kSumRows = 8;  // 16 sums in registers hide the latency of the dot product
    const Bf16* b1 = p.b + p.b_column_tiles * kTileHalves;
    for (int row = 0; row < kRows * kTileRows; row += kSumRows) {
      float* c = p.c + row / kTileRows * 2 * kTileFloats + row % kTileRows * kTilePairs;
      const Bf16* a = p.a + row / kTileRows * p.a_row_tiles * kTileHalves + row % kTileRows * kTileDepth;
      __m512 sums[kSumRows][2];
      for (int i = 0; i < kSumRows; ++i) {
        for (int column = 0; column < 2; ++column) {
          const float* from = c + column * kTileFloats + i * kTilePairs;
          sums[i][column] = p.is_added ? _mm512_load_ps(from) : _mm512_setzero_ps();
        }
      }
      for (int step = 0; step < p.steps; ++step, a += kTileHalves) {
        for (int pair = 0; pair < kTilePairs; ++pair) {
          const int offset = step * kTileHalves + pair * kTileDepth;
          const auto left = (__m512bh)_mm512_load_si512(p.b + offset), right = (__m512bh)_mm512_load_si512(b1 + offset);
          for (int i = 0; i < kSumRows; ++i) {
            int bits;
            std::memcpy(&bits, a + i * kTileDepth + 2 * pair, sizeof(bits));
            const auto value = (__m512bh)_mm512_set1_epi32(bits);
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], value, left);
            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], value, right);
          }
        }
      }
      for (int i = 0; i < kSumRows; ++i) {
        _mm512_store_ps(c + i * kTilePairs, sums[i][0]);
        _mm512_store_ps(c + kTileFloats + i * kTilePairs, sums[i][1]);
      }
    }
  }
};

// 2^x for x <= 0, relative error 1e-7, 1 for 0: the factor of older sums.
VISTAZO_BF16_INLINE __m512 exp2(__m512 x) {
  const __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEAREST_INT);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(1.5469732e-4f), r, _mm512_set1_ps(1.3410001e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.61803078e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.55029731e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.40226511e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.93147225e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT));
}

// A number whose upper 16 bits are 2^x rounded to bf16. Minimax in [0, 1), relative error 8e-5, a fiftieth of the
// rounding; the constant is increased by half a unit of the last place of bf16, so that cutting it off rounds.
VISTAZO_BF16_INLINE __m512 exp2_bf16(__m512 x) {
  const __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.0780245227f), r, _mm512_set1_ps(0.226067155f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.69583354f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.999925219f + 0x1p-8f));
  return _mm512_scalef_ps(p, x);
}

// Weights of a chunk of 32 keys for one tile of queries: 2^(score * factor - shift), as a tile of P^T, and into `sum`.
VISTAZO_BF16_INLINE void weigh(const float* scores, __m512 factor, __m512 shift, Bf16* to, __m512& sum) {
  // Bytes 2 and 3 of each 32 bits to bytes 0 and 1.
  const __m512i down = _mm512_set4_epi32(0x0f0e0f0e, 0x0b0a0b0a, 0x07060706, 0x03020302);
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (int half = 0; half < 2; ++half) {
    for (int row = 0; row < kTileRows; row += 2) {
      const float* pair = scores + half * 2 * kTileFloats + row * kTilePairs;
      const __m512i even = _mm512_castps_si512(exp2_bf16(_mm512_fmsub_ps(_mm512_load_ps(pair), factor, shift)));
      const __m512i odd =
          _mm512_castps_si512(exp2_bf16(_mm512_fmsub_ps(_mm512_load_ps(pair + kTilePairs), factor, shift)));
      sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_and_si512(even, upper)));
      sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_and_si512(odd, upper)));
      _mm512_store_si512(to, _mm512_mask_shuffle_epi8(odd, 0x3333333333333333ull, even, down));
      to += kTileDepth;
    }
  }
}

struct Kernel {
  const AttentionTile& tile;
  Scratch scratch;
  int depth, value_tiles;  // tiles along head_dim and value_dim
  float factor;            // |scale| * log2(e)

  const Bf16* queries_of(int group) const { return scratch.q + group * 2 * depth * kTileHalves; }
  float* out_of(int group) const { return scratch.out + group * 2 * value_tiles * kTileFloats; }
};

// S^T of a group and a block of `keys` keys; those behind the last, up to a whole chunk, get kNoScore.
template <typename Unit>
VISTAZO_BF16_INLINE void score(const Kernel& kernel, int group, int keys) {
  const int depth = kernel.depth, padded = ceil_divide(keys, kTileDepth) * kTileDepth;
  float* scores = kernel.scratch.scores;
  for (int tile = 0; tile * kTileRows < padded; tile += 2) {
    Unit::template multiply<2>({kernel.scratch.k + tile * depth * kTileHalves, depth, kernel.queries_of(group), depth,
                                depth, scores + tile * 2 * kTileFloats, false});
  }
  for (int key = keys; key < padded; ++key) {
    float* row = scores + key / kTileRows * 2 * kTileFloats + key % kTileRows * kTilePairs;
    _mm512_store_ps(row, _mm512_set1_ps(kNoScore));
    _mm512_store_ps(row + kTileFloats, _mm512_set1_ps(kNoScore));
  }
}

VISTAZO_BF16_INLINE void find_largest(const float* scores, int chunks, __m512 (&largest)[2]) {
  __m512 odd[2];
  largest[0] = largest[1] = odd[0] = odd[1] = _mm512_set1_ps(kNoScore);
  for (int tile = 0; tile < chunks * 2; ++tile, scores += 2 * kTileFloats) {
    for (int row = 0; row < kTileRows; row += 2) {
      for (int i = 0; i < 2; ++i) {
        const float* pair = scores + i * kTileFloats + row * kTilePairs;
        largest[i] = _mm512_max_ps(largest[i], _mm512_load_ps(pair));
        odd[i] = _mm512_max_ps(odd[i], _mm512_load_ps(pair + kTilePairs));
      }
    }
  }
  for (int i = 0; i < 2; ++i) largest[i] = _mm512_max_ps(largest[i], odd[i]);
}

// Moves the shift of queries whose largest score is more than kSlack above it, and scales their sums.
VISTAZO_BF16_INLINE void move_shift(const Kernel& kernel, int group, const __m512 (&largest)[2], __m512 (&shift)[2]) {
  const __m512 factor = _mm512_set1_ps(kernel.factor);
  float* shifts = kernel.scratch.shift + group * kGroupQueries;
  __mmask16 moves[2];
  __m512 exponent[2];
  for (int i = 0; i < 2; ++i) {
    shift[i] = _mm512_load_ps(shifts + i * kTileRows);
    exponent[i] = _mm512_mul_ps(largest[i], factor);
    moves[i] = _mm512_cmp_ps_mask(_mm512_sub_ps(exponent[i], shift[i]), _mm512_set1_ps(kSlack), _CMP_NLE_UQ);
  }
  if ((moves[0] | moves[1]) == 0) return;
  __m512 alpha[2];
  float* sums = kernel.scratch.sum + group * kGroupQueries;
  for (int i = 0; i < 2; ++i) {
    const __m512 moved = _mm512_mask_mov_ps(shift[i], moves[i], exponent[i]);
    alpha[i] = exp2(_mm512_sub_ps(shift[i], moved));
    shift[i] = moved;
    _mm512_store_ps(shifts + i * kTileRows, moved);
    _mm512_store_ps(sums + i * kTileRows, _mm512_mul_ps(_mm512_load_ps(sums + i * kTileRows), alpha[i]));
  }
  float* out = kernel.out_of(group);
  for (int tile = 0; tile < 2 * kernel.value_tiles; ++tile) {
    for (int row = 0; row < kTileRows; ++row, out += kTilePairs) {
      _mm512_store_ps(out, _mm512_mul_ps(_mm512_load_ps(out), alpha[tile % 2]));
    }
  }
}

// P^T of a group, and its sums.
VISTAZO_BF16_INLINE void weigh_scores(const Kernel& kernel, int group, int chunks, const __m512 (&shift)[2]) {
  const __m512 factor = _mm512_set1_ps(kernel.factor);
  for (int i = 0; i < 2; ++i) {
    float* total = kernel.scratch.sum + group * kGroupQueries + i * kTileRows;
    __m512 sum = _mm512_setzero_ps();
    for (int chunk = 0; chunk < chunks; ++chunk) {
      weigh(kernel.scratch.scores + (chunk * 4 + i) * kTileFloats, factor, shift[i],
            kernel.scratch.weights + (i * kChunks + chunk) * kTileHalves, sum);
    }
    _mm512_store_ps(total, _mm512_add_ps(_mm512_load_ps(total), sum));
  }
}

// O^T += V^T P^T of a group.
template <typename Unit>
VISTAZO_BF16_INLINE void weigh_values(const Kernel& kernel, int group, int chunks) {
  const Bf16 *v = kernel.scratch.v, *p = kernel.scratch.weights;
  float* out = kernel.out_of(group);
  int e = 0;
  for (; e + 2 <= kernel.value_tiles; e += 2) {
    Unit::template multiply<2>(
        {v + e * kChunks * kTileHalves, kChunks, p, kChunks, chunks, out + e * 2 * kTileFloats, true});
  }
  if (e < kernel.value_tiles) {
    Unit::template multiply<1>(
        {v + e * kChunks * kTileHalves, kChunks, p, kChunks, chunks, out + e * 2 * kTileFloats, true});
  }
}

// Brings the rows of a later block into the second-level cache.
VISTAZO_BF16_INLINE void prefetch_rows(const void* data, std::int64_t row_stride, int first, int rows, int dim) {
  const Bf16* row = static_cast<const Bf16*>(data) + first * row_stride;
  for (int i = 0; i < rows; ++i, row += row_stride) {
    for (int d = 0; d < dim; d += kTileDepth) _mm_prefetch(row + d, _MM_HINT_T1);
  }
}

VISTAZO_BF16 void write_output(const Kernel& kernel) {
  const AttentionTile& tile = kernel.tile;
  for (int first = 0; first < tile.queries; first += kTileRows) {
    const __m512 scale = _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_load_ps(kernel.scratch.sum + first));
    const int rows = std::min(tile.queries - first, kTileRows);
    for (int e = 0; e < kernel.value_tiles; ++e) {
      const float* from = kernel.out_of(first / kGroupQueries) + (e * 2 + first / kTileRows % 2) * kTileFloats;
      __m512i x[16];
      for (int i = 0; i < 16; ++i) {
        x[i] = _mm512_castps_si512(_mm512_mul_ps(_mm512_load_ps(from + i * kTilePairs), scale));
      }
      transpose(x);
      const auto mask = static_cast<__mmask16>(first_lanes(std::min(tile.value_dim - e * kTileRows, kTileRows)));
      Bf16* to = static_cast<Bf16*>(tile.out) + first * tile.out_row_stride + e * kTileRows;
      for (int i = 0; i < rows; ++i) {
        _mm256_mask_storeu_epi16(to + i * tile.out_row_stride, mask,
                                 (__m256i)_mm512_cvtneps_pbh(_mm512_castsi512_ps(x[i])));
      }
    }
  }
}

template <typename Unit>
VISTAZO_BF16 void attend(const AttentionTile& tile) {
  Unit::start();
  Kernel kernel{tile,
                {},
                ceil_divide(tile.head_dim, kTileDepth),
                ceil_divide(tile.value_dim, kTileRows),
                std::max(std::abs(tile.scale) * 1.44269504f, kMinFactor)};
  const Scratch& scratch = kernel.scratch;
  lay_out(tile.head_dim, tile.value_dim, tile.scratch, &kernel.scratch);
  const int groups = ceil_divide(tile.queries, kGroupQueries);
  pack_queries(tile, scratch.q);
  std::fill_n(scratch.out, groups * 2 * kernel.value_tiles * kTileFloats, 0.0f);
  std::fill_n(scratch.shift, groups * kGroupQueries, kNoScore);
  std::fill_n(scratch.sum, groups * kGroupQueries, 0.0f);

  for (int first_key = 0; first_key < tile.keys; first_key += kKeyBlock) {
    const int keys = std::min(tile.keys - first_key, kKeyBlock), chunks = ceil_divide(keys, kTileDepth);
    pack_keys(tile, first_key, keys, scratch.k);
    pack_values(tile, first_key, keys, scratch.v);
    const int next_key = first_key + kKeyBlock, next_keys = std::clamp(tile.keys - next_key, 0, kKeyBlock);
    prefetch_rows(tile.k, tile.k_row_stride, next_key, next_keys, tile.head_dim);
    prefetch_rows(tile.v, tile.v_row_stride, next_key, next_keys, tile.value_dim);
    for (int group = 0; group < groups; ++group) {
      __m512 largest[2], shift[2];
      score<Unit>(kernel, group, keys);
      find_largest(scratch.scores, chunks, largest);
      move_shift(kernel, group, largest, shift);
      weigh_scores(kernel, group, chunks, shift);
      weigh_values<Unit>(kernel, group, chunks);
    }
  }
  write_output(kernel);
  Unit::stop();
}

bool has_avx512_bf16() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bf16");
}

bool has_amx() {
  unsigned a, b, c, d;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kTiles = 1u << 24, kBf16Tiles = 1u << 22;
  if ((d & kTiles) == 0 || (d & kBf16Tiles) == 0) return false;
  if (!has_avx512_bf16()) return false;
  // Linux saves tile registers only of a process that asked for it: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA.
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool is_amx_available() {
  static const bool is_available = has_amx();
  return is_available;
}

bool is_avx512_bf16_available() {
  return has_avx512_bf16();
}

bool is_avx512_bf16_fast() {
  return has_avx512_bf16() && __builtin_cpu_is("amd");
}

std::size_t attention_bf16_scratch_bytes(int head_dim, int value_dim) {
  Scratch scratch;
  return lay_out(head_dim, value_dim, nullptr, &scratch);
}

void attention_amx(const AttentionTile& tile, DType) {
  attend<Amx>(tile);
}

void attention_avx512_bf16(const AttentionTile& tile, DType) {
  attend<DotProducts>(tile);
}

}  // namespace vistazo::cpu

#else

namespace vistazo::cpu {

bool is_amx_available() {
  return false;
}
bool is_avx512_bf16_available() {
  return false;
}
bool is_avx512_bf16_fast() {
  return false;
}
std::size_t attention_bf16_scratch_bytes(int, int) {
  return 0;
}
void attention_amx(const AttentionTile&, DType) {}
void attention_avx512_bf16(const AttentionTile&, DType) {}

}  // namespace vistazo::cpu

#endif
