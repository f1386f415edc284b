#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/rope.h"

// What the launcher in attention.cpp hands to a code path: a run of query rows of one (batch entry, head) pair, to be
// attended to all keys of that pair. A row's result depends on nothing but its own values and the keys, so a caller may
// cut the queries as it likes.
namespace vistazo::cpu {

inline constexpr int kMaxDim = 128;  // of a head

struct AttentionTile {
  const void *q, *k, *v;  // row 0 of each: head_dim, head_dim and value_dim elements
  void* out;              // row 0: value_dim elements
  std::int64_t q_row_stride, k_row_stride, v_row_stride, out_row_stride;  // in elements
  int queries;                                                            // at most the path's largest tile
  int keys;
  int head_dim, value_dim;
  float scale;
  AttentionRope rope;
  int first_query;  // the token of row 0 of q; that of k is token 0
  void* scratch;    // the path's scratch bytes, aligned to 64
};

// The cosines of a token, its sines behind them; null for a token that stays as it is.
inline const float* angles_of(const AttentionTile& tile, int token) {
  if (tile.rope.table == nullptr || token < tile.rope.prefix) return nullptr;
  return tile.rope.table + std::int64_t{token - tile.rope.prefix} * tile.head_dim;
}

// Every path: the most query rows of a tile and the number of rows that a tile should be a multiple of, the scratch
// that one needs, and the kernel.

// Highway: any processor. Sums and products in f32 for both dtypes.
inline constexpr int kSimdTileQueries = 192, kSimdQueryStep = 48;
std::size_t attention_simd_scratch_bytes(int head_dim, int value_dim);
void attention_simd(const AttentionTile& tile, DType dtype);

// bf16 only: Intel AMX, or AVX512-BF16 alone. Asking for AMX asks the operating system for the use of its registers,
// once for the process.
inline constexpr int kBf16TileQueries = 512, kBf16QueryStep = 32;
bool is_amx_available();
bool is_avx512_bf16_available();
// Whether bf16 dot products beat f32 multiply-adds. AMD's do; on Intel one takes as long as four multiply-adds
// (measured: 2.2 cycles against 0.54), for twice the work.
bool is_avx512_bf16_fast();
std::size_t attention_bf16_scratch_bytes(int head_dim, int value_dim);
void attention_amx(const AttentionTile& tile, DType dtype);
void attention_avx512_bf16(const AttentionTile& tile, DType dtype);

}  // namespace vistazo::cpu
