#pragma once

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/gemm/gemm.h"

namespace vistazo::cuda {

// What becomes of one sum. `column` counts over all groups.
template <typename Y>
__device__ inline void finish(const Gemm& gemm, float sum, std::int64_t row, int column) {
  Y* const y = static_cast<Y*>(gemm.y) + row * gemm.y_stride + column;
  if (gemm.bias != nullptr) sum += gemm.bias[column];
  if (gemm.accumulate) sum += to_float(*y);
  *y = from_float<Y>(activate(sum, gemm.activation) * gemm.post_scale + gemm.post_bias);
}

}  // namespace vistazo::cuda
