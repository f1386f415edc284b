#pragma once

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/gemm/gemm.h"

// What becomes of the sums. A column counts over all groups, except where a group is given beside it.
namespace vistazo::cuda {

template <typename Y>
__device__ inline void finish(const Gemm& gemm, float sum, std::int64_t row, int column) {
  Y* const y = static_cast<Y*>(gemm.y) + row * gemm.y_stride + column;
  if (gemm.bias != nullptr) sum += gemm.bias[column];
  if (gemm.accumulate) sum += to_float(*y);
  *y = from_float<Y>(activate(sum, gemm.activation) * gemm.post_scale + gemm.post_bias);
}

template <typename Y>
struct alignas(2 * sizeof(Y)) Pair {
  Y low, high;
};

// The sums of an even column of a group and the next. `are_pairs_stored`: y takes both in one store.
template <typename Y>
__device__ inline void finish_pair(const Gemm& gemm, float low, float high, std::int64_t row, int group, int column,
                                   bool are_pairs_stored) {
  const int place = group * gemm.columns + column;
  if (!are_pairs_stored) {
    if (column < gemm.columns) finish<Y>(gemm, low, row, place);
    if (column + 1 < gemm.columns) finish<Y>(gemm, high, row, place + 1);
    return;
  }
  if (column >= gemm.columns) return;
  auto* const y = reinterpret_cast<Pair<Y>*>(static_cast<Y*>(gemm.y) + row * gemm.y_stride + place);
  if (gemm.bias != nullptr) {
    low += gemm.bias[place];
    high += gemm.bias[place + 1];
  }
  if (gemm.accumulate) {
    const Pair<Y> before = *y;
    low += to_float(before.low);
    high += to_float(before.high);
  }
  *y = {from_float<Y>(activate(low, gemm.activation) * gemm.post_scale + gemm.post_bias),
        from_float<Y>(activate(high, gemm.activation) * gemm.post_scale + gemm.post_bias)};
}

}  // namespace vistazo::cuda
