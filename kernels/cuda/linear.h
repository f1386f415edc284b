#pragma once

#include <cstddef>
#include <memory>

#include "kernels/base/dtype.h"
#include "kernels/cuda/matmul_context.h"
#include "kernels/linear.h"

namespace vistazo::cuda {

// y = activation(x W^T + b) with W in device memory. Products of f16 and bf16 run on tensor cores, f32 without TF32;
// sums, bias and activation are f32. One object may run on several streams and threads at once.
class PackedLinear {
 public:
  // weight (out, in), bias (out) or null, both f32 in host memory and only read here, on the current device.
  // dtype: f32, f16 or bf16, of x and the packed weight.
  PackedLinear(const float* weight, const float* bias, int in, int out, DType dtype);
  ~PackedLinear();
  PackedLinear(PackedLinear&&) noexcept;
  PackedLinear& operator=(PackedLinear&&) noexcept;

  int in() const;
  int out() const;
  std::size_t bytes() const;  // of device memory

  // Fast where x and its row stride are multiples of 16 bytes; right for any. y must not overlap x.
  void run(const LinearArgs& args, const MatmulContext& context) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vistazo::cuda
