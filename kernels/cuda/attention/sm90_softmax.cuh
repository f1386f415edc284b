#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention/softmax.cuh"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/ptx/ex2.cuh"

namespace vistazo::cuda::hopper {

// Over the four lanes that share a row.
__device__ inline float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kWholeWarp, x, 1));
  return fmaxf(x, __shfl_xor_sync(kWholeWarp, x, 2));
}
__device__ inline float row_sum(float x) {
  x += __shfl_xor_sync(kWholeWarp, x, 1);
  return x + __shfl_xor_sync(kWholeWarp, x, 2);
}

// The online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867) of the two rows of a thread: rows lane / 4 and
// lane / 4 + 8 of the warp's 16.
struct Rows {
  float scale;                  // log2(e) times that of the scores
  float shift[2];               // of scores times scale
  float sum[2] = {0.0f, 0.0f};  // of the thread's weights

  // Weights 2^(scores * scale - shift) of one row, as left operands and summed.
  template <typename T, int kTiles, int kBlocks>
  __device__ void weigh(int r, const float (&scores)[kTiles][4], std::uint32_t (&p)[kBlocks][4], float& total) {
    static_assert(kTiles <= 2 * kBlocks);
    float even = 0.0f, odd = 0.0f;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const float first = ptx::ex2_approx_ftz(scores[n][2 * r] * scale - shift[r]);
      const float second = ptx::ex2_approx_ftz(scores[n][2 * r + 1] * scale - shift[r]);
      even += first;
      odd += second;
      p[n / 2][n % 2 * 2 + r] = pack<T>(first, second);
    }
    total = even + odd;
  }

  template <int kTiles>
  __device__ float largest(int r, const float (&scores)[kTiles][4]) {
    float x = -INFINITY;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) x = fmaxf(x, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    return row_max(x);
  }

  template <typename T, int kTiles, int kBlocks>
  __device__ void weigh_first(const float (&scores)[kTiles][4], std::uint32_t (&p)[kBlocks][4]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      shift[r] = largest(r, scores) * scale;
      weigh<T>(r, scores, p, sum[r]);
    }
  }

  // Of a further tile. True for the whole warp if a row's shift has risen and its sums must be multiplied by
  // `correction`. Sums of weights may be up to kLimit, which costs no precision: half of f16's range, and in bf16 far
  // below that of the f32 sums. A row's decision depends on that row alone.
  template <typename T, int kTiles>
  __device__ bool weigh_next(const float (&scores)[kTiles][4], std::uint32_t (&p)[kTiles / 2][4],
                             float (&correction)[2]) {
    constexpr float kLimit = std::is_same_v<T, __half> ? 0x1p15f : 0x1p30f;
    float total[2];
    bool has_risen = false;
    // Twice at most, in a loop so that the weights and their registers are there once.
#pragma unroll 1
    while (true) {
      weigh<T>(0, scores, p, total[0]);
      weigh<T>(1, scores, p, total[1]);
      const bool is_large = total[0] > kLimit || total[1] > kLimit;
      if (__any_sync(kWholeWarp, is_large) == 0 || has_risen) break;
      has_risen = true;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const bool rises = row_max(total[r]) > kLimit;
        const float largest_score = largest(r, scores);  // all lanes take part
        const float risen = rises ? largest_score * scale : shift[r];
        correction[r] = rises ? ptx::ex2_approx_ftz(shift[r] - risen) : 1.0f;
        sum[r] *= correction[r];
        shift[r] = risen;
      }
    }
    sum[0] += total[0];
    sum[1] += total[1];
    return has_risen;
  }
};

}  // namespace vistazo::cuda::hopper
