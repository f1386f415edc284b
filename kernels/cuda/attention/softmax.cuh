#pragma once

#include <cmath>

#include "kernels/cuda/ptx/ex2.cuh"

// The online softmax of a warp's 16 query rows (Milakov & Gimelshein 2018, arXiv:1805.02867), on the fragments of
// ptx/mma.cuh: lane 4 g + t owns rows g and g + 8, of which four lanes hold different keys.
namespace vistazo::cuda {

// The shift of a row follows its largest score only when that has risen by more than 2^8: weights then reach 256, which
// costs neither f16 nor bf16 any precision, and what has been summed is rarely scaled.
inline constexpr float kShiftSlack = 8.0f;

inline constexpr unsigned kWholeWarp = 0xffffffffu;

template <int kTiles>
struct RowShifts {
  float shift[2] = {-INFINITY, -INFINITY};  // of scores, before scale_log2

  // Takes in the scores of another block. True for the whole warp if a row's sums must be multiplied by `correction`.
  __device__ bool move(const float (&scores)[kTiles][4], float scale_log2, float (&correction)[2]) {
    bool has_moved = false;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float largest = shift[r];
#pragma unroll
      for (int n = 0; n < kTiles; ++n) largest = fmaxf(largest, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
      largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 2));
      // False for -infinity minus itself: then all of the row is NaN, as the formula says.
      const bool moves = (largest - shift[r]) * scale_log2 > kShiftSlack;
      correction[r] = moves ? ptx::ex2_approx_ftz((shift[r] - largest) * scale_log2) : 1.0f;
      shift[r] = moves ? largest : shift[r];
      has_moved = has_moved || moves;
    }
    return __any_sync(kWholeWarp, has_moved) != 0;
  }
};

}  // namespace vistazo::cuda
