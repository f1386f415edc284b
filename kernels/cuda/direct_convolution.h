#pragma once

#include "kernels/base/stream.h"
#include "kernels/cuda/gemm/gemm.h"

// Convolutions that have kernels of their own, described as matrix products all the same.
namespace vistazo::cuda {

// One channel in and out per group. The weight is (tap, channel): rows of weight_stride elements, one for each tap.
void depthwise_convolution(const Gemm& gemm, CudaStream stream);

// At most four input channels, one group, and a small kernel; the weight as for gemm(). Planes as well.
bool is_stem(const Gemm& gemm);
void stem_convolution(const Gemm& gemm, CudaStream stream);

// Planes, f16 or bf16, by tensor cores: at most 32 products in a sum.
bool is_planar_product(const Gemm& gemm);
void planar_convolution(const Gemm& gemm, CudaStream stream);

}  // namespace vistazo::cuda
