#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/grid_resize.h"

namespace vistazo::reference {

// Weight of input position `in` for output position `out` along one axis: the kernel function at their distance, summed
// over the repeated border (no antialias) or cut there and normalised (antialias).
inline std::vector<double> resize_weights(int out, int in_size, int out_size, Interpolation kind, bool antialias) {
  const double scale = double(in_size) / out_size, stretch = antialias ? std::max(scale, 1.0) : 1.0;
  double middle = (out + 0.5) * scale - 0.5;
  if (!antialias && kind == Interpolation::bilinear) middle = std::max(middle, 0.0);
  const double a = antialias ? -0.5 : -0.75;
  std::vector<double> weights(in_size, 0.0);
  double sum = 0.0;
  const int reach = int(std::ceil(2 * stretch)) + 1;
  for (int in = int(middle) - reach; in <= int(middle) + reach; ++in) {
    if (antialias && (in < 0 || in >= in_size)) continue;
    const double x = std::abs(in - middle) / stretch;
    double weight = 0.0;
    if (kind == Interpolation::bilinear)
      weight = std::max(1 - x, 0.0);
    else if (x < 1)
      weight = (a + 2) * x * x * x - (a + 3) * x * x + 1;
    else if (x < 2)
      weight = a * (x * x * x - 5 * x * x + 8 * x - 4);
    weights[std::clamp(in, 0, in_size - 1)] += weight;
    sum += weight;
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

inline std::vector<double> grid_resize(const std::vector<float>& x, int height, int width, int out_height,
                                       int out_width, int channels, Interpolation kind, bool antialias) {
  std::vector<double> y(std::size_t(out_height) * out_width * channels, 0.0);
  for (int i = 0; i < out_height; ++i) {
    const auto rows = resize_weights(i, height, out_height, kind, antialias);
    for (int j = 0; j < out_width; ++j) {
      const auto columns = resize_weights(j, width, out_width, kind, antialias);
      for (int r = 0; r < height; ++r) {
        for (int c = 0; c < width; ++c) {
          if (rows[r] * columns[c] == 0) continue;
          for (int k = 0; k < channels; ++k) {
            y[(std::size_t(i) * out_width + j) * channels + k] +=
                rows[r] * columns[c] * x[(std::size_t(r) * width + c) * channels + k];
          }
        }
      }
    }
  }
  return y;
}

}  // namespace vistazo::reference
