#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// y[r][c] = x[r][c] / sqrt(mean_c(x[r]^2) + eps) * scale[c] (Zhang & Sennrich 2019, arXiv:1910.07467), all in f32.
struct RmsNormArgs {
  const void* x;       // row r starts at x + r * x_row_stride elements
  void* y;             // likewise; may equal x where dtypes and strides do
  const float* scale;  // (cols)
  std::int64_t rows;
  int cols;
  std::int64_t x_row_stride, y_row_stride;  // in elements, at least cols
  float eps;
  DType x_dtype, y_dtype;  // f32 or bf16 each; on CUDA f16 too
};

namespace cpu {
void rms_norm(const RmsNormArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void rms_norm(const RmsNormArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
