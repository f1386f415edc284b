#pragma once

#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention/sm90_items.cuh"
#include "kernels/cuda/attention/sm90_softmax.cuh"
#include "kernels/cuda/ptx/cp_async_bulk_tensor.cuh"
#include "kernels/cuda/ptx/wgmma.cuh"

// How tiles of keys and values come to shared memory, and what a warpgroup does with those that it goes through.
namespace vistazo::cuda::hopper {

template <typename C>
__device__ void copy_panels(unsigned char* shared, const CUtensorMap& map, int rows, int head, int token, int batch,
                            ptx::Barrier* barrier) {
#pragma unroll
  for (int panel = 0; panel < C::kPanels; ++panel) {
    ptx::cp_async_bulk_tensor_4d(shared + panel * rows * C::kPanelBytes, &map, panel * C::kPanelColumns, head, token,
                                 batch, barrier);
  }
}

template <typename T, int kTiles>
__device__ void multiply(float (&d)[kTiles][4], std::uint64_t a, std::uint64_t b, bool is_added) {
  if constexpr (std::is_same_v<T, __half>) {
    ptx::wgmma_f32_f16(d, a, b, is_added);
  } else {
    ptx::wgmma_f32_bf16(d, a, b, is_added);
  }
}
template <typename T, int kTiles>
__device__ void multiply(float (&d)[kTiles][4], const std::uint32_t (&a)[4], std::uint64_t b, bool is_added) {
  if constexpr (std::is_same_v<T, __half>) {
    ptx::wgmma_f32_f16(d, a[0], a[1], a[2], a[3], b, is_added);
  } else {
    ptx::wgmma_f32_bf16(d, a[0], a[1], a[2], a[3], b, is_added);
  }
}

// Starts scores (64 x 8 kTiles) = Q K^T.
template <typename C, int kTiles>
__device__ void multiply_keys(float (&scores)[kTiles][4], const unsigned char* queries, const unsigned char* keys) {
  ptx::hold(scores);
  ptx::wgmma_fence();
#pragma unroll
  for (int d = 0; d < C::kDim; d += 16) {
    const int panel = d / C::kPanelColumns, bytes = d % C::kPanelColumns * 2;
    multiply<typename C::T>(
        scores, ptx::advance(ptx::wgmma_descriptor<C::kPanelBytes>(queries), panel * kRows * C::kPanelBytes + bytes),
        ptx::advance(ptx::wgmma_descriptor<C::kPanelBytes>(keys), panel * C::kTileKeys * C::kPanelBytes + bytes),
        d > 0);
  }
  ptx::wgmma_commit();
}

// Starts out (64 x kDim) += P V.
template <typename C, int kBlocks>
__device__ void multiply_values(float (&out)[C::kDim / 8][4], std::uint32_t (&p)[kBlocks][4],
                                const unsigned char* values) {
  ptx::hold(out);
  ptx::hold(p);
  ptx::wgmma_fence();
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    const std::uint64_t v = ptx::wgmma_descriptor<C::kPanelBytes>(values, C::kTileKeys * C::kPanelBytes);
    multiply<typename C::T>(out, p[n], ptx::advance(v, n * 16 * C::kPanelBytes), true);
  }
  ptx::wgmma_commit();
}

// A warpgroup's way through tiles of keys with its 64 queries. Of the Ring it asks where the queries and the n-th tile
// of keys and of values are, waiting until that is there, and tells it, in every warp, when they have been read:
// queries, wait_keys(n), wait_values(n), release_queries(), release_keys(n), release_values(n).
template <typename C, typename Ring>
struct TileSums {
  using T = typename C::T;
  using Scores = float[C::kTileKeys / 8][4];
  using Weights = std::uint32_t[C::kTileKeys / 16][4];
  using Out = float[C::kDim / 8][4];

  Ring ring;
  int lane;
  int n = 0;  // the tile whose keys come next

  template <int kTiles>
  __device__ void start_scores(float (&scores)[kTiles][4]) {
    multiply_keys<C>(scores, ring.queries, ring.wait_keys(n));
  }
  __device__ void start_values(Out& out, Weights& weights, int tile) {
    multiply_values<C>(out, weights, ring.wait_values(tile));
  }
  // Waits for the scores, and for the products started before them.
  template <int kTiles>
  __device__ void finish_scores(float (&scores)[kTiles][4], bool is_last) {
    ptx::wgmma_wait<0>();
    ptx::hold(scores);
    ring.release_keys(n);
    if (is_last) ring.release_queries();
  }
  __device__ void finish_values(Out& out, Weights& weights, int tile) {
    ptx::wgmma_wait<0>();
    ptx::hold(out);
    ptx::hold(weights);
    ring.release_values(tile);
  }
  __device__ void rescale(Out& out, const float (&correction)[2]) {
#pragma unroll
    for (int d = 0; d < C::kDim / 8; ++d) {
#pragma unroll
      for (int j = 0; j < 4; ++j) out[d][j] *= correction[j / 2];
    }
  }

  // Weights of the first tile, which may hold the end of the keys: of its columns the first 8 kTiles are computed.
  template <int kTiles>
  __device__ void first_tile(int keys_left, bool is_last, Weights& weights, Rows& rows) {
    float scores[kTiles][4];
    start_scores(scores);
    finish_scores(scores, is_last);
    if (keys_left < kTiles * 8) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (t * 8 + (lane & 3) * 2 + (i & 1) >= keys_left) scores[t][i] = -INFINITY;
        }
      }
    }
    rows.weigh_first<T>(scores, weights);
#pragma unroll
    for (int block = kTiles / 2; block < C::kTileKeys / 16; ++block) {
#pragma unroll
      for (std::uint32_t& pair : weights[block]) pair = 0;
    }
    ++n;
  }

  // The product of the last tile's weights with V runs beside that of Q with the next tile's K and while its weights
  // are computed.
  __device__ void next_tile(bool is_last, Scores& scores, Weights& last, Weights& next, Out& out, Rows& rows) {
    float correction[2];
    const int behind = n - 1;
    start_scores(scores);
    start_values(out, last, behind);
    ptx::wgmma_wait<1>();
    ptx::hold(scores);
    ring.release_keys(n);
    if (is_last) ring.release_queries();
    const bool has_risen = rows.weigh_next<T>(scores, next, correction);
    finish_values(out, last, behind);
    if (has_risen) rescale(out, correction);
    ++n;
  }

  // The same with one set of weights: both products at a time, and then the weights.
  __device__ void next_tile(bool is_last, Scores& scores, Weights& weights, Out& out, Rows& rows) {
    float correction[2];
    const int behind = n - 1;
    start_values(out, weights, behind);
    start_scores(scores);
    finish_scores(scores, is_last);
    finish_values(out, weights, behind);
    if (rows.weigh_next<T>(scores, weights, correction)) rescale(out, correction);
    ++n;
  }

  // Adds the products of all tiles to out, which is zero. C::kOverlaps: with the weights of two tiles in registers.
  __device__ void add(int tiles, int keys_left, Out& out, Rows& rows) {
    Scores scores;
    Weights even;
    if (keys_left <= 32) {
      first_tile<4>(keys_left, tiles == 1, even, rows);
    } else if (C::kTileKeys == 64 || keys_left <= 64) {
      first_tile<8>(keys_left, tiles == 1, even, rows);
    } else if constexpr (C::kTileKeys > 64) {
      if (C::kTileKeys == 96 || keys_left <= 96) {
        first_tile<12>(keys_left, tiles == 1, even, rows);
      } else if constexpr (C::kTileKeys > 96) {
        first_tile<16>(keys_left, tiles == 1, even, rows);
      }
    }
    if constexpr (C::kOverlaps) {
      Weights odd;
#pragma unroll 1
      for (int i = 1; i < tiles; i += 2) {
        next_tile(i + 1 == tiles, scores, even, odd, out, rows);
        if (i + 1 == tiles) {
          start_values(out, odd, n - 1);
          finish_values(out, odd, n - 1);
          return;
        }
        next_tile(i + 2 == tiles, scores, odd, even, out, rows);
      }
    } else {
#pragma unroll 1
      for (int i = 1; i < tiles; ++i) next_tile(i + 1 == tiles, scores, even, out, rows);
    }
    start_values(out, even, n - 1);
    finish_values(out, even, n - 1);
  }
};

}  // namespace vistazo::cuda::hopper
