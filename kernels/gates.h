#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

// Products of two halves of a row, one of which passed a sigmoid. All computed in f32 and rounded once.
namespace vistazo {

class ThreadPool;

// y[r][c] = silu(x[r][c]) * x[r][cols + c]: the inside of a SwiGLU feed-forward (Shazeer 2020, arXiv:2002.05202).
struct SwigluArgs {
  const void* x;  // (rows, 2 * cols): row r starts at x + r * x_row_stride elements
  void* y;        // (rows, cols), dense
  std::int64_t rows;
  int cols;
  std::int64_t x_row_stride;
  DType dtype;  // of x and y: f32 or bf16; on CUDA f16 too
};

// y[r][c] = sigmoid(gates[r][c]) * a[r][c] + sigmoid(gates[r][cols + c]) * b[r][c]: D-FINE's gateway (Peng et al. 2024,
// arXiv:2410.13842) between a residual stream and what a sublayer adds to it.
struct GatedSumArgs {
  const float* gates;  // (rows, 2 * cols), dense
  const float* a;      // (rows, cols), dense
  const void* b;       // (rows, cols), dense, of b_dtype
  float* y;            // (rows, cols), dense; may equal a
  std::int64_t rows;
  int cols;
  DType b_dtype;  // f32 or bf16; on CUDA f16 too
};

namespace cpu {
void swiglu(const SwigluArgs& args, const ThreadPool& pool);
void gated_sum(const GatedSumArgs& args, const ThreadPool& pool);
}  // namespace cpu

namespace cuda {
// On the stream; pointers are to device memory.
void swiglu(const SwigluArgs& args, CudaStream stream);
void gated_sum(const GatedSumArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
