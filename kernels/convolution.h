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
  int end_padding = 0;  // zeros added below and on the right, beyond padding

  int out_height(int height) const { return (height + 2 * padding + end_padding - kernel_height) / stride + 1; }
  int out_width(int width) const { return (width + 2 * padding + end_padding - kernel_width) / stride + 1; }
};

// y = post_scale * activation(conv(x) + bias [+ y]) + post_bias. NHWC; pixels follow each other row by row, images
// without a gap; a pixel's channels may be a slice of a wider tensor's.
struct ConvolutionArgs {
  const void* x;  // (B, height, width, in_channels) of the packed dtype
  void* y;        // (B, out_height, out_width, out_channels)
  int batch, height, width;
  DType y_dtype;  // f32, or the packed dtype
  Activation activation;
  std::int64_t x_pixel_stride = 0, y_pixel_stride = 0;  // elements from one pixel to the next; 0: dense
  bool accumulate = false;                              // y as it was is added before the activation
  float post_scale = 1, post_bias = 0;                  // a learned affine map of one scale and one bias
  bool is_x_planar = false;  // x is (B, in_channels, height, width), dense, f32; cuda::reads_planes() alone
};

}  // namespace vistazo
