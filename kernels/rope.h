#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) in place, pairing element i of a head with i + D/2:
//   x[i] = x[i] cos - x[i + D/2] sin,  x[i + D/2] = x[i + D/2] cos + x[i] sin,  cos and sin of angle[token][i], i <
//   D/2.
// A pass of its own rather than a part of attention: a row is rotated once here, while each of attention's blocks of
// queries would rotate all keys again, and no attention path needs to know of it.
struct RopeArgs {
  // (B, tokens, heads * head_dim): row t of batch entry b starts at x + (b * tokens + t) * row_stride elements. With q
  // and k side by side in a packed projection, heads counts both.
  void* x;
  const float* table;  // (tokens - prefix, head_dim): a token's cosines, then its sines, head_dim / 2 of each
  int batch, tokens, heads, head_dim;
  int prefix;  // tokens at the start that stay as they are: class and register tokens
  std::int64_t row_stride;
  DType dtype;  // f32 or bf16; on CUDA f16 too
};

namespace cpu {
void rope(const RopeArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void rope(const RopeArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
