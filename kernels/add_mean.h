#pragma once

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// y[b][t][c] = x[b][t][c] + mean over t of x[b][t][c]: a feature map plus its global average pooling. Sums are f32.
struct AddMeanArgs {
  const void* x;  // (B, tokens, cols), dense
  void* y;        // same shape; may equal x
  int batch, tokens, cols;
  DType dtype;  // f32 or bf16; on CUDA f16 too
};

namespace cpu {
void add_mean(const AddMeanArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void add_mean(const AddMeanArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
