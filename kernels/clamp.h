#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// x[i] = low where x[i] < low, high where x[i] > high, else as it was (NaN too), in place.
struct ClampArgs {
  void* x;
  std::int64_t count;
  float low, high;
  DType dtype;  // f32 or bf16; on CUDA f16 too
};

// x[b][r][c] = 0 where mask[r] is 0, for every c, in place: rows of a feature map that no proposal may come from.
struct MaskRowsArgs {
  void* x;            // (B, rows, cols), dense
  const float* mask;  // (rows)
  int batch, rows, cols;
  DType dtype;  // any 2- or 4-byte type whose zero is all bits 0
};

namespace cpu {
void clamp(const ClampArgs& args, const ThreadPool& pool);
void mask_rows(const MaskRowsArgs& args, const ThreadPool& pool);
}  // namespace cpu

namespace cuda {
// On the stream; pointers are to device memory.
void clamp(const ClampArgs& args, CudaStream stream);
void mask_rows(const MaskRowsArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
