#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/base/dtype.h"

namespace vistazo {

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

}  // namespace vistazo
