#pragma once

#include <cstdint>

#include "kernels/activation.h"

namespace vistazo::cpu {

// y[i] = activation(x[i]) for count elements on the calling thread: the epilogue of a product's block that is still in
// a cache. y is f32 (and may equal x) or bf16.
void activate_range(const float* x, void* y, std::int64_t count, Activation activation, DType y_dtype);

}  // namespace vistazo::cpu
