#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// The k largest of each row, largest first; equal scores in the order of their index, so the result is deterministic.
// NaN counts as smaller than everything.
struct TopKArgs {
  const float* scores;  // (rows, cols), dense
  float* values;        // (rows, k), or null
  std::int32_t* index;  // (rows, k): columns
  std::int64_t rows;
  int cols;
  int k;          // 1..cols
  void* scratch;  // top_k_scratch_bytes() of the backend
};

namespace cpu {
std::size_t top_k_scratch_bytes(const TopKArgs& args);
void top_k(const TopKArgs& args, const ThreadPool& pool);
}  // namespace cpu

namespace cuda {
std::size_t top_k_scratch_bytes(const TopKArgs& args);
// On the stream; pointers are to device memory.
void top_k(const TopKArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
