#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/base/dtype.h"

namespace vistazo {

// y[r][c] = activation((x[r][c] - mean_r) / sqrt(var_r + eps) * scale[c] + bias[c]); biased variance, two passes (the
// mean first), all in f32.
struct LayerNormArgs {
  const void* x;              // row r starts at x + r * x_row_stride elements
  void* y;                    // likewise; may equal x where dtypes and strides do
  const float *scale, *bias;  // (cols)
  std::int64_t rows;
  int cols;
  std::int64_t x_row_stride, y_row_stride;  // in elements, at least cols
  float eps;
  Activation activation;
  DType x_dtype, y_dtype;  // f32 or bf16 each
};

namespace cpu {
void layer_norm(const LayerNormArgs& args, const ThreadPool& pool);
}

}  // namespace vistazo
