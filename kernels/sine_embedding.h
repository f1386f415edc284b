#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// Sine embedding of boxes as in DAB-DETR (Liu et al. 2022, arXiv:2201.12329), eq. 3-4. A box (x, y, w, h) gives
// [e(y), e(x), e(w), e(h)], each of dim values: e(v)[2i] = sin(2 pi v / t^(2i/dim)), e(v)[2i+1] = cos(of the same).
struct SineEmbeddingArgs {
  const float* boxes;  // (rows, 4)
  void* y;             // (rows, 4 * dim)
  std::int64_t rows;
  int dim;            // even
  float temperature;  // t, 10000 in all DETRs
  DType y_dtype;      // f32 or bf16; on CUDA f16 too
};

namespace cpu {
void sine_embedding(const SineEmbeddingArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void sine_embedding(const SineEmbeddingArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
