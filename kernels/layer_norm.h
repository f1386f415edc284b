#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/base/dtype.h"
#include "kernels/base/error.h"
#include "kernels/base/stream.h"
#include "kernels/window_grid.h"

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
  DType x_dtype, y_dtype;  // f32 or bf16 each; on CUDA f16 too, both alike or one of them f32
  // What a product behind the norm takes: y, or y + addend, rounded once. Only where x and y are f32; null: nothing.
  void* extra = nullptr;         // (rows, cols), dense, of extra_dtype
  const void* addend = nullptr;  // likewise, or null
  DType extra_dtype = DType::f32;
  // With windows > 0 rows of y are those of a feature map (B, height, width) and x is (B, grid.tokens()) tokens, those
  // of patches alone read: y in another place than x, no extra result.
  WindowGrid grid{};
};

// Throws Error{argument} for rows that are no maps of args.grid.
inline void check_grid(const LayerNormArgs& args) {
  const WindowGrid& grid = args.grid;
  if (grid.windows == 0) return;
  if (grid.is_valid() && args.rows % grid.height == 0 && args.rows / grid.height % grid.width == 0 && !args.extra)
    return;
  fail(Error::Code::argument, "layer_norm: {} rows of a grid of {} x {} patches in {} x {} windows{}", args.rows,
       grid.height, grid.width, grid.windows, grid.windows, args.extra ? ", with an extra result" : "");
}

namespace cpu {
void layer_norm(const LayerNormArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory; scale and bias are weights, not results of the kernel in front, since
// they are read before it has finished. Throws Error{unsupported} for dtypes that it cannot run.
void layer_norm(const LayerNormArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
