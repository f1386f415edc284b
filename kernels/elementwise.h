#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// y[r][c] = a[r % a_rows][c] + b[r % b_rows][c], computed in f32, rounded once. With b null: a conversion or a copy.
struct AddArgs {
  const void* a;  // row r starts at a + r * a_row_stride elements
  const void* b;  // (b_rows, cols), dense; or null
  void* y;        // row r starts at y + r * y_row_stride elements; may equal a where dtypes and strides do
  std::int64_t rows, b_rows;
  int cols;
  std::int64_t a_row_stride, y_row_stride;
  DType a_dtype, b_dtype, y_dtype;  // f32 or bf16 each; on CUDA f16 too
  std::int64_t a_rows = 0;          // 0: as many as rows
  void* a_copy = nullptr;           // (rows, cols), dense, of y_dtype: a alone; null: nothing
};

namespace cpu {
void add(const AddArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void add(const AddArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
