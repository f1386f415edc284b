#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/sm90_items.cuh"
#include "kernels/cuda/attention/sm90_softmax.cuh"
#include "kernels/cuda/ptx/cluster.cuh"

// From the sums of a warpgroup to the output, directly or together with the other blocks of a cluster.
namespace vistazo::cuda::hopper {

// Of four 32-bit words that each of a row's lanes has, lane t of four gets the t-th of all.
__device__ inline uint4 transpose_words(const std::uint32_t (&w)[4], int t) {
  const bool is_odd = t & 1, is_high = t & 2;
  const std::uint32_t a = __shfl_xor_sync(kWholeWarp, is_odd ? w[0] : w[1], 1);
  const std::uint32_t b = __shfl_xor_sync(kWholeWarp, is_odd ? w[2] : w[3], 1);
  const uint2 low = is_odd ? uint2{a, w[1]} : uint2{w[0], a};   // words 0 and 1 of lanes t & 2 and above
  const uint2 high = is_odd ? uint2{b, w[3]} : uint2{w[2], b};  // words 2 and 3
  const std::uint32_t c = __shfl_xor_sync(kWholeWarp, is_high ? low.x : high.x, 2);
  const std::uint32_t d = __shfl_xor_sync(kWholeWarp, is_high ? low.y : high.y, 2);
  return is_high ? uint4{c, d, high.x, high.y} : uint4{low.x, low.y, c, d};
}

template <typename T>
__device__ T* out_row(const AttentionArgs& args, const Item& item, int row) {
  return static_cast<T*>(args.out) + item.batch * args.out_batch_stride + row * args.out_row_stride +
         std::int64_t{item.head} * args.value_dim;
}

// Row r (0 or 1) of a thread's two.
__device__ inline int row_of(int r, int thread) {
  return thread / 32 * 16 + thread % 32 / 4 + 8 * r;
}

// Writes a row, of which four lanes have two columns of every 8: of four such blocks each lane writes one.
template <typename C>
__device__ void store_row(const AttentionArgs& args, const Item& item, int row, const float (&x)[C::kDim / 8][2],
                          float factor, int lane) {
  using T = typename C::T;
  auto* const to = reinterpret_cast<uint4*>(out_row<T>(args, item, row));
#pragma unroll
  for (int d = 0; d < C::kDim / 8; d += 4) {
    std::uint32_t words[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) words[j] = pack<T>(x[d + j][0] * factor, x[d + j][1] * factor);
    const uint4 columns = transpose_words(words, lane & 3);
    const int block = d + (lane & 3);
    if (row < args.queries && block * 8 < args.value_dim) to[block] = columns;
  }
}

template <typename C>
__device__ void store_rows(const AttentionArgs& args, const Item& item, int first_row,
                           const float (&out)[C::kDim / 8][4], const float (&sum)[2], int thread) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float x[C::kDim / 8][2];
#pragma unroll
    for (int d = 0; d < C::kDim / 8; ++d) {
      x[d][0] = out[d][2 * r];
      x[d][1] = out[d][2 * r + 1];
    }
    store_row<C>(args, item, first_row + row_of(r, thread), x, 1.0f / sum[r], thread % 32);
  }
}

// The sums of a consumer, for the other blocks of the cluster to read: rows of kPartialStride, then
// for each row the sum of weights and the shift.
template <typename C>
__device__ void store_partial(float* partial, const float (&out)[C::kDim / 8][4], const Rows& rows,
                              const float (&sum)[2], int thread) {
  const int lane = thread % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = row_of(r, thread);
#pragma unroll
    for (int d = 0; d < C::kDim / 8; ++d) {
      *reinterpret_cast<float2*>(partial + row * C::kPartialStride + d * 8 + (lane & 3) * 2) =
          float2{out[d][2 * r], out[d][2 * r + 1]};
    }
    if ((lane & 3) == 0) {
      *reinterpret_cast<float2*>(partial + kRows * C::kPartialStride + row * 2) = float2{sum[r], rows.shift[r]};
    }
  }
}

// Adds the sums of all blocks of the cluster, in the order of ranks, and writes this block's share of the output: 8
// columns a thread.
template <typename C>
__device__ void combine(const AttentionArgs& args, const Item& item, int first_row, const float* partial, int rank,
                        int ranks, int thread) {
  using T = typename C::T;
  constexpr int kPieces = C::kDim / 8;
#pragma unroll 1
  for (int piece = rank * kGroup + thread; piece < kRows * kPieces; piece += ranks * kGroup) {
    const int row = piece / kPieces, column = piece % kPieces * 8;
    const float* const sums = partial + kRows * C::kPartialStride + row * 2;
    const float* const from = partial + row * C::kPartialStride + column;
    float shift = -INFINITY;
#pragma unroll 1
    for (int other = 0; other < ranks; ++other) shift = fmaxf(shift, ptx::load_cluster_v2(sums, other).y);
    float total = 0.0f, x[8] = {};
#pragma unroll 1
    for (int other = 0; other < ranks; ++other) {
      const float2 sum = ptx::load_cluster_v2(sums, other);
      const float4 low = ptx::load_cluster_v4(from, other), high = ptx::load_cluster_v4(from + 4, other);
      const float weight = ptx::ex2_approx_ftz(sum.y - shift);
      total += weight * sum.x;
      x[0] += weight * low.x;
      x[1] += weight * low.y;
      x[2] += weight * low.z;
      x[3] += weight * low.w;
      x[4] += weight * high.x;
      x[5] += weight * high.y;
      x[6] += weight * high.z;
      x[7] += weight * high.w;
    }
    if (first_row + row >= args.queries || column >= args.value_dim) continue;
    const float inverse = 1.0f / total;
    *reinterpret_cast<uint4*>(out_row<T>(args, item, first_row + row) + column) =
        uint4{pack<T>(x[0] * inverse, x[1] * inverse), pack<T>(x[2] * inverse, x[3] * inverse),
              pack<T>(x[4] * inverse, x[5] * inverse), pack<T>(x[6] * inverse, x[7] * inverse)};
  }
}

}  // namespace vistazo::cuda::hopper
