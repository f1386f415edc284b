#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/pooling.h"

namespace vistazo::reference {

// x (batch, height, width, channels), dense -> (batch, out_height, out_width, channels).
inline std::vector<double> pooling(const std::vector<float>& x, int batch, int height, int width, int channels,
                                   const PoolingWindow& w, Pooling kind) {
  std::vector<double> y;
  for (int b = 0; b < batch; ++b) {
    for (int i = 0; i < w.out_height(height); ++i) {
      for (int j = 0; j < w.out_width(width); ++j) {
        for (int c = 0; c < channels; ++c) {
          double sum = 0, largest = -std::numeric_limits<double>::infinity();
          int count = 0;
          for (int row = i * w.stride - w.padding; row < i * w.stride - w.padding + w.height; ++row) {
            for (int col = j * w.stride - w.padding; col < j * w.stride - w.padding + w.width; ++col) {
              if (row < 0 || col < 0 || row >= height + w.end_zeros || col >= width + w.end_zeros) continue;
              const bool is_zero = row >= height || col >= width;
              const auto index = static_cast<std::size_t>(((b * height + row) * width + col) * channels + c);
              const double value = is_zero ? 0.0 : static_cast<double>(x[index]);
              sum += value;
              largest = std::max(largest, value);
              ++count;
            }
          }
          y.push_back(kind == Pooling::max ? largest : sum / count);
        }
      }
    }
  }
  return y;
}

}  // namespace vistazo::reference
