#pragma once

#include <cstddef>
#include <vector>

namespace vistazo::reference {

// x (batch, height, width, 2, 2, channels) -> (batch, 2 height, 2 width, channels).
template <typename T>
std::vector<T> depth_to_space(const std::vector<T>& x, int batch, int height, int width, int channels) {
  std::vector<T> y(x.size());
  for (int b = 0; b < batch; ++b) {
    for (int i = 0; i < 2 * height; ++i) {
      for (int j = 0; j < 2 * width; ++j) {
        for (int c = 0; c < channels; ++c) {
          const int cell = (b * height + i / 2) * width + j / 2, corner = i % 2 * 2 + j % 2;
          const int to = ((b * 2 * height + i) * 2 * width + j) * channels + c;
          y[static_cast<std::size_t>(to)] = x[static_cast<std::size_t>((cell * 4 + corner) * channels + c)];
        }
      }
    }
  }
  return y;
}

}  // namespace vistazo::reference
