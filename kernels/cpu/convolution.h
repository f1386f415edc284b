#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/base/dtype.h"
#include "kernels/convolution.h"

namespace vistazo {

class ThreadPool;

namespace cpu {

// 2-D convolution through oneDNN, NHWC, weights packed once. Sums are f32. One object may run on several threads.
class PackedConvolution {
 public:
  // weight (out, in / groups, kernel_height, kernel_width), bias (out) or null, f32, only read here. dtype: f32, bf16.
  PackedConvolution(const float* weight, const float* bias, const ConvolutionShape& shape, DType dtype);
  ~PackedConvolution();
  PackedConvolution(PackedConvolution&&) noexcept;
  PackedConvolution& operator=(PackedConvolution&&) noexcept;

  const ConvolutionShape& shape() const;
  std::size_t bytes() const;

  void run(const ConvolutionArgs& args, const ThreadPool& pool) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cpu
}  // namespace vistazo
