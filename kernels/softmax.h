#pragma once

#include <cstdint>

#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// y[r] = exp(x[r] - max(x[r])) / sum(...), over the columns of each row, f32.
struct SoftmaxArgs {
  const float* x;  // (rows, cols), dense
  float* y;        // same shape; may equal x
  std::int64_t rows;
  int cols;
};

namespace cpu {
void softmax(const SoftmaxArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void softmax(const SoftmaxArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
