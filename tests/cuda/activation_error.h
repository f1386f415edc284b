#pragma once

#include "kernels/activation.h"
#include "kernels/base/dtype.h"

namespace vistazo::testing {

// What GELU and SiLU of 16-bit results are off for arguments up to 1 (kernels/cuda/activation.cuh); twice that, as
// arguments may be larger than the largest result.
inline double activation_error(DType y_dtype, Activation activation) {
  const bool has_tanh = activation == Activation::silu || activation == Activation::gelu;
  return has_tanh && y_dtype != DType::f32 ? 2 * (0x1p-12 + 3e-5) : 0.0;
}

}  // namespace vistazo::testing
