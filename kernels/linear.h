#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/base/dtype.h"

namespace vistazo {

// y = activation(x W^T + b) over rows of x; W (out, in) is held by the backend in its own layout. Sums are f32.
struct LinearArgs {
  const void* x;  // row r starts at x + r * x_row_stride elements, of the dtype that W was packed for
  void* y;        // row r starts at y + r * y_row_stride elements
  std::int64_t rows;
  std::int64_t x_row_stride, y_row_stride;
  DType y_dtype;  // f32, or the packed dtype
  Activation activation;
  bool accumulate;  // y += instead of y =; no activation
};

}  // namespace vistazo
