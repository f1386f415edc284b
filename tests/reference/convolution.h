#pragma once

#include <vector>

#include "kernels/convolution.h"
#include "tests/reference/activation.h"

namespace vistazo::reference {

// x (batch, height, width, in_channels), weight (out, in / groups, kernel_height, kernel_width), bias (out) or empty.
// y_before: what is added before the activation, or empty. Real: double, or float as the plain loop that a kernel's
// error is compared with.
template <typename Real>
std::vector<Real> convolution(const std::vector<float>& x, const std::vector<float>& weight,
                              const std::vector<float>& bias, const ConvolutionShape& s, int batch, int height,
                              int width, Activation activation, const std::vector<float>& y_before = {},
                              float post_scale = 1, float post_bias = 0) {
  const int group_in = s.in_channels / s.groups, group_out = s.out_channels / s.groups;
  const auto at = [](int i) { return static_cast<std::size_t>(i); };
  std::vector<Real> y;
  for (int b = 0; b < batch; ++b) {
    for (int i = 0; i < s.out_height(height); ++i) {
      for (int j = 0; j < s.out_width(width); ++j) {
        for (int o = 0; o < s.out_channels; ++o) {
          Real sum = 0;
          for (int ki = 0; ki < s.kernel_height; ++ki) {
            for (int kj = 0; kj < s.kernel_width; ++kj) {
              const int row = i * s.stride + ki - s.padding, col = j * s.stride + kj - s.padding;
              if (row < 0 || row >= height || col < 0 || col >= width) continue;
              for (int c = 0; c < group_in; ++c) {
                const int channel = o / group_out * group_in + c;
                sum += static_cast<Real>(x[at(((b * height + row) * width + col) * s.in_channels + channel)]) *
                       static_cast<Real>(weight[at(((o * group_in + c) * s.kernel_height + ki) * s.kernel_width + kj)]);
              }
            }
          }
          if (!bias.empty()) sum += bias[at(o)];
          if (!y_before.empty()) sum += y_before[y.size()];
          y.push_back(activate(sum, activation) * post_scale + post_bias);
        }
      }
    }
  }
  return y;
}

}  // namespace vistazo::reference
