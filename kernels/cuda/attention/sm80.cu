// Attention of f16 and bf16 with the tensor cores' mma.sync, for every GPU since sm_80.
//
// A block of 4 warps does 64 queries of one (batch entry, head); a warp owns 16 of them and shares nothing with the
// others but the tiles of K and V, 64 keys each, of which shared memory holds two: while one is used, cp.async brings
// the next. One barrier per tile. Q stays in registers, and so do the weights: the accumulator's layout of S = Q K^T is
// the left operand's of O += P V. The sum of the weights, as rounded for that product, is one more column of it, with
// ones for V: weights sum to one exactly, and no shuffles are needed. Head dimensions between the compiled ones are
// padded with zeros in shared memory, where K and V (and Q) have the larger of both dimensions.
//
// A warp reads the whole of both tiles for its 16 rows: 256 * dim bytes of shared memory for 4096 * dim operations. At
// 128 bytes a cycle that takes longer than the products, and is the expected limit.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention/load_rows.cuh"
#include "kernels/cuda/attention/softmax.cuh"
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/dynamic_shared.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/ex2.cuh"
#include "kernels/cuda/ptx/ldmatrix.cuh"
#include "kernels/cuda/ptx/mma.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kTileQueries = 16 * kWarps;
constexpr int kTileKeys = 64;
constexpr int kKeyTiles = kTileKeys / 8;  // 8 columns of an mma

template <typename T, int kDim>
inline constexpr int kTileElements = kTileKeys* kSharedStride<T, kDim>;

template <typename T>
__device__ void mma(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    ptx::mma_m16n8k16_f32_f16(d, a, b0, b1);
  } else {
    ptx::mma_m16n8k16_f32_bf16(d, a, b0, b1);
  }
}

// The warp's 16 rows as left operands.
template <typename T, int kDim>
__device__ void read_queries(std::uint32_t (&q)[kDim / 16][4], const T* rows, int lane, bool is_negated) {
  constexpr std::uint32_t kSigns = 0x80008000u;
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
    ptx::ldmatrix_x4(q[d], rows + (lane & 15) * kSharedStride<T, kDim> + d * 16 + (lane >> 4) * 8);
#pragma unroll
    for (std::uint32_t& pair : q[d]) pair ^= is_negated ? kSigns : 0u;
  }
}

// scores (16 queries x 64 keys) = Q K^T. A row of K is a column of the right operand as it lies.
template <typename T, int kDim>
__device__ void multiply_keys(float (&scores)[kKeyTiles][4], const std::uint32_t (&q)[kDim / 16][4], const T* keys,
                              int lane) {
  const T* row = keys + ((lane >> 4) * 8 + (lane & 7)) * kSharedStride<T, kDim> + (lane >> 3 & 1) * 8;
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
    for (float& score : scores[n]) score = 0.0f;
  }
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
    for (int n = 0; n < kKeyTiles; n += 2) {
      std::uint32_t k[4];
      ptx::ldmatrix_x4(k, row + n * 8 * kSharedStride<T, kDim> + d * 16);
      mma<T>(scores[n], q[d], k[0], k[1]);
      mma<T>(scores[n + 1], q[d], k[2], k[3]);
    }
  }
}

// out (16 queries x kDim) += P V and sums += P 1.
template <typename T, int kDim>
__device__ void multiply_values(float (&out)[kDim / 8][4], float (&sums)[4], const std::uint32_t (&p)[kKeyTiles][2],
                                const T* values, int lane) {
  const std::uint32_t ones = pack<T>(1.0f, 1.0f);
  const T* row = values + (lane & 15) * kSharedStride<T, kDim> + (lane >> 4) * 8;
#pragma unroll
  for (int n = 0; n < kKeyTiles; n += 2) {
    const std::uint32_t weights[4] = {p[n][0], p[n][1], p[n + 1][0], p[n + 1][1]};
    mma<T>(sums, weights, ones, ones);
#pragma unroll
    for (int d = 0; d < kDim / 8; d += 2) {
      std::uint32_t v[4];
      ptx::ldmatrix_x4_trans(v, row + n * 8 * kSharedStride<T, kDim> + d * 8);
      mma<T>(out[d], weights, v[0], v[1]);
      mma<T>(out[d + 1], weights, v[2], v[3]);
    }
  }
}

// Scores of keys that are not there become -infinity.
__device__ void mask_keys(float (&scores)[kKeyTiles][4], int keys_left, int lane) {
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (n * 8 + (lane & 3) * 2 + (i & 1) >= keys_left) scores[n][i] = -INFINITY;
    }
  }
}

template <typename T, int kDim>
__device__ void store_rows(T* rows, const AttentionLaunch& launch, int first_row, const float (&out)[kDim / 8][4],
                           const float (&sums)[4], int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + (lane >> 2) + 8 * r;
    if (row >= launch.args.queries) continue;
    T* to = rows + row * launch.args.out_row_stride;
    const float inverse = 1.0f / sums[2 * r];
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      const int column = d * 8 + (lane & 3) * 2;
      const float first = out[d][2 * r] * inverse, second = out[d][2 * r + 1] * inverse;
      if (launch.are_pairs_stored) {
        if (column < launch.args.value_dim) *reinterpret_cast<std::uint32_t*>(to + column) = pack<T>(first, second);
      } else {
        if (column < launch.args.value_dim) to[column] = from_float<T>(first);
        if (column + 1 < launch.args.value_dim) to[column + 1] = from_float<T>(second);
      }
    }
  }
}

// kDim is the larger of head_dim and value_dim, padded.
template <typename T, int kDim>
__global__ void __launch_bounds__(kThreads) attention_sm80_kernel(const __grid_constant__ AttentionLaunch launch) {
  dependent_launch();
  // K of stage 0 and 1, then V of stage 0 and 1.
  T* const shared_keys = reinterpret_cast<T*>(dynamic_shared());
  T* const shared_values = shared_keys + 2 * kTileElements<T, kDim>;
  const AttentionArgs& args = launch.args;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int pair = static_cast<int>(blockIdx.x) / launch.query_tiles;
  const int first_query = static_cast<int>(blockIdx.x) % launch.query_tiles * kTileQueries;
  const std::int64_t b = pair / args.heads, h = pair % args.heads;
  const T* q_rows = static_cast<const T*>(args.q.data) + b * args.q.batch_stride + h * args.head_dim;
  const T* k_rows = static_cast<const T*>(args.k.data) + b * args.k.batch_stride + h * args.head_dim;
  const T* v_rows = static_cast<const T*>(args.v.data) + b * args.v.batch_stride + h * args.value_dim;

  const auto load_block = [&](int first_key, int stage) {
    const int keys = args.keys - first_key, offset = stage * kTileElements<T, kDim>;
    load_rows<T, kDim, kTileKeys, kThreads>(shared_keys + offset, k_rows + first_key * args.k.row_stride,
                                            args.k.row_stride, keys, args.head_dim, launch.k_copy);
    load_rows<T, kDim, kTileKeys, kThreads>(shared_values + offset, v_rows + first_key * args.v.row_stride,
                                            args.v.row_stride, keys, args.value_dim, launch.v_copy);
  };
  // Q passes through the place of the second tile of keys, which is not needed yet.
  T* const shared_queries = shared_keys + kTileElements<T, kDim>;
  static_assert(kTileQueries == kTileKeys);
  load_rows<T, kDim, kTileQueries, kThreads>(shared_queries, q_rows + first_query * args.q.row_stride,
                                             args.q.row_stride, args.queries - first_query, args.head_dim,
                                             launch.q_copy);
  load_block(0, 0);
  ptx::cp_async_wait_all();
  __syncthreads();
  std::uint32_t q[kDim / 16][4];
  read_queries<T, kDim>(q, shared_queries + warp * 16 * kSharedStride<T, kDim>, lane, launch.is_q_negated);

  float out[kDim / 8][4] = {}, sums[4] = {};
  RowShifts<kKeyTiles> shifts;
  int stage = 0;
  for (int first_key = 0; first_key < args.keys; first_key += kTileKeys, stage ^= 1) {
    // This tile has arrived, and no warp still reads what the next one will overwrite.
    ptx::cp_async_wait_all();
    __syncthreads();
    if (first_key + kTileKeys < args.keys) load_block(first_key + kTileKeys, stage ^ 1);

    float scores[kKeyTiles][4], correction[2];
    multiply_keys<T, kDim>(scores, q, shared_keys + stage * kTileElements<T, kDim>, lane);
    if (first_key + kTileKeys > args.keys) mask_keys(scores, args.keys - first_key, lane);
    if (shifts.move(scores, launch.scale_log2, correction)) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[i] *= correction[i / 2];
#pragma unroll
        for (int d = 0; d < kDim / 8; ++d) out[d][i] *= correction[i / 2];
      }
    }
    std::uint32_t p[kKeyTiles][2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float shift = shifts.shift[r] * launch.scale_log2;
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
        p[n][r] = pack<T>(ptx::ex2_approx_ftz(scores[n][2 * r] * launch.scale_log2 - shift),
                          ptx::ex2_approx_ftz(scores[n][2 * r + 1] * launch.scale_log2 - shift));
      }
    }
    multiply_values<T, kDim>(out, sums, p, shared_values + stage * kTileElements<T, kDim>, lane);
  }
  T* out_rows = static_cast<T*>(args.out) + b * args.out_batch_stride + h * args.value_dim;
  store_rows<T, kDim>(out_rows, launch, first_query + warp * 16, out, sums, lane);
}

template <typename T, int kDim>
void launch_kernel(const AttentionLaunch& parameters, CudaStream stream) {
  const std::int64_t pairs = std::int64_t{parameters.args.batch} * parameters.args.heads;
  launch("attention", attention_sm80_kernel<T, kDim>, pairs * parameters.query_tiles, kThreads,
         4 * kTileElements<T, kDim> * sizeof(T), stream, parameters);
}

template <typename T>
void choose_dim(const AttentionLaunch& parameters, CudaStream stream) {
  const int dim = std::max(parameters.args.head_dim, parameters.args.value_dim);
  if (dim <= 16) return launch_kernel<T, 16>(parameters, stream);
  if (dim <= 32) return launch_kernel<T, 32>(parameters, stream);
  if (dim <= 48) return launch_kernel<T, 48>(parameters, stream);
  if (dim <= 64) return launch_kernel<T, 64>(parameters, stream);
  if (dim <= 80) return launch_kernel<T, 80>(parameters, stream);
  if (dim <= 96) return launch_kernel<T, 96>(parameters, stream);
  return launch_kernel<T, 128>(parameters, stream);
}

}  // namespace

void attention_sm80(AttentionLaunch parameters, CudaStream stream) {
  parameters.query_tiles = (parameters.args.queries + kTileQueries - 1) / kTileQueries;
  if (parameters.args.dtype == DType::f16) return choose_dim<__half>(parameters, stream);
  choose_dim<__nv_bfloat16>(parameters, stream);
}

}  // namespace vistazo::cuda
