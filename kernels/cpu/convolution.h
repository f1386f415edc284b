#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/activation.h"
#include "kernels/base/dtype.h"

namespace vistazo {

class ThreadPool;

namespace cpu {

struct ConvolutionShape {
  int in_channels, out_channels;
  int kernel_height, kernel_width;
  int stride = 1;
  int padding = 0;  // zeros, on all four sides
  int groups = 1;

  int out_height(int height) const { return (height + 2 * padding - kernel_height) / stride + 1; }
  int out_width(int width) const { return (width + 2 * padding - kernel_width) / stride + 1; }
};

struct ConvolutionArgs {
  const void* x;  // (B, height, width, in_channels), dense NHWC, of the packed dtype
  void* y;        // (B, out_height, out_width, out_channels), dense NHWC
  int batch, height, width;
  DType y_dtype;  // f32, or the packed dtype
  Activation activation;
};

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
