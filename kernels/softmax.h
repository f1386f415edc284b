#pragma once

#include <cstdint>

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

}  // namespace vistazo
