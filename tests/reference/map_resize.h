#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/map_resize.h"

namespace vistazo::reference {

// x (batch, height, width, channels), dense -> (batch, out_height, out_width, channels).
inline std::vector<double> map_resize(const std::vector<float>& x, int batch, int height, int width, int out_height,
                                      int out_width, int channels, MapInterpolation interpolation) {
  const auto at = [&](int b, int row, int col, int c) {
    row = std::min(row, height - 1), col = std::min(col, width - 1);
    return static_cast<double>(x[static_cast<std::size_t>(((b * height + row) * width + col) * channels + c)]);
  };
  const auto source = [](int position, int size, int out_size) {
    return std::max((position + 0.5) * size / out_size - 0.5, 0.0);
  };
  std::vector<double> y;
  for (int b = 0; b < batch; ++b) {
    for (int i = 0; i < out_height; ++i) {
      for (int j = 0; j < out_width; ++j) {
        for (int c = 0; c < channels; ++c) {
          if (interpolation == MapInterpolation::nearest) {
            y.push_back(at(b, i * height / out_height, j * width / out_width, c));
            continue;
          }
          const double row = source(i, height, out_height), col = source(j, width, out_width);
          const int top = static_cast<int>(row), left = static_cast<int>(col);
          const double down = row - top, right = col - left;
          y.push_back((1 - down) * ((1 - right) * at(b, top, left, c) + right * at(b, top, left + 1, c)) +
                      down * ((1 - right) * at(b, top + 1, left, c) + right * at(b, top + 1, left + 1, c)));
        }
      }
    }
  }
  return y;
}

}  // namespace vistazo::reference
