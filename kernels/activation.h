#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

enum class Activation : std::uint8_t {
  none,
  relu,  // max(x, 0)
  silu,  // x / (1 + exp(-x))
  gelu,  // x / 2 * (1 + erf(x / sqrt(2))): the exact form, not the tanh approximation
};

// y[i] = activation(x[i]), computed in f32.
struct ActivationArgs {
  const void* x;
  void* y;  // may equal x
  std::int64_t count;
  Activation activation;
  DType dtype;  // f32 or bf16; on CUDA f16 too
};

namespace cpu {
void activation(const ActivationArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void activation(const ActivationArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
