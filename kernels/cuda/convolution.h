#pragma once

#include <cstddef>
#include <memory>

#include "kernels/base/dtype.h"
#include "kernels/convolution.h"
#include "kernels/cuda/matmul_context.h"

namespace vistazo::cuda {

// Whether run() takes planes: few input channels, a small kernel, one group.
bool reads_planes(const ConvolutionShape& shape);

// 2-D convolution, NHWC, as a matrix product whose left operand is gathered from the image while it is multiplied. As
// for PackedLinear: tensor cores for f16 and bf16, f32 without TF32, sums and what follows them in f32.
class PackedConvolution {
 public:
  // weight (out, in / groups, kernel_height, kernel_width), bias (out) or null, both f32 in host memory, only read
  // here. dtype: f32, f16 or bf16.
  PackedConvolution(const float* weight, const float* bias, const ConvolutionShape& shape, DType dtype);
  ~PackedConvolution();
  PackedConvolution(PackedConvolution&&) noexcept;
  PackedConvolution& operator=(PackedConvolution&&) noexcept;

  const ConvolutionShape& shape() const;
  std::size_t bytes() const;  // of device memory

  // Fast where x, its pixel stride and the channels of a group are multiples of 16 bytes; right for any. y must not
  // overlap x.
  void run(const ConvolutionArgs& args, const MatmulContext& context) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vistazo::cuda
