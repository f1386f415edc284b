#pragma once

#include <cstdint>

#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/ptx/cp_async.cuh"

namespace vistazo::cuda {

// Elements between rows in shared memory: 16 bytes more than the row, so that a row is an odd number of 16-byte units
// and eight rows at the same column lie in different banks.
template <typename T, int kDim>
inline constexpr int kSharedStride = kDim + 16 / static_cast<int>(sizeof(T));

// Copies kRows rows of `dim` elements to shared memory, all threads of the block together. Rows from `rows` on and
// elements from `dim` to kDim become zero: their products are zero and no NaN of other memory gets in. At least one row
// is there. The copies are complete after cp_async_wait_all() and a barrier.
template <typename T, int kDim, int kRows, int kThreads>
__device__ inline void load_rows(T* shared, const T* source, std::int64_t row_stride, int rows, int dim, RowCopy copy) {
  constexpr int kElement = static_cast<int>(sizeof(T)), kStride = kSharedStride<T, kDim>;
  const int thread = static_cast<int>(threadIdx.x);
  if (copy == RowCopy::bytes16) {
    constexpr int kVector = 16 / kElement, kVectors = kDim / kVector;
    static_assert(kRows * kVectors % kThreads == 0);
#pragma unroll
    for (int i = 0; i < kRows * kVectors / kThreads; ++i) {
      const int index = i * kThreads + thread, row = index / kVectors, column = index % kVectors * kVector;
      const int count = row < rows ? min(max(dim - column, 0), kVector) : 0;
      // What is not read still gets an address inside the tensor.
      const T* from = count > 0 ? source + row * row_stride + column : source;
      ptx::cp_async_cg_16(shared + row * kStride + column, from, count * kElement);
    }
  } else if (copy == RowCopy::bytes4) {
    constexpr int kWord = 4 / kElement, kWords = kDim / kWord;
#pragma unroll 1
    for (int index = thread; index < kRows * kWords; index += kThreads) {
      const int row = index / kWords, column = index % kWords * kWord;
      const bool is_there = row < rows && column < dim;
      const T* from = is_there ? source + row * row_stride + column : source;
      ptx::cp_async_ca_4(shared + row * kStride + column, from, is_there ? 4 : 0);
    }
  } else {
#pragma unroll 1
    for (int index = thread; index < kRows * kDim; index += kThreads) {
      const int row = index / kDim, column = index % kDim;
      shared[row * kStride + column] = row < rows && column < dim ? source[row * row_stride + column] : T(0.0f);
    }
  }
}

}  // namespace vistazo::cuda
