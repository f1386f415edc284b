#pragma once

#include <vector>

#include "kernels/rows.h"

// Window-major order written out with one loop per index, unlike the kernels' arithmetic.
namespace vistazo::reference {

// For each token of one image in memory order: its patch as y * width + x, or -1 for a prefix token.
inline std::vector<int> patch_of_token(const WindowGrid& grid) {
  std::vector<int> patches;
  const int window_height = grid.height / grid.windows, window_width = grid.width / grid.windows;
  for (int i = 0; i < grid.windows; ++i) {
    for (int j = 0; j < grid.windows; ++j) {
      for (int p = 0; p < grid.prefix; ++p) patches.push_back(-1);
      for (int y = i * window_height; y < (i + 1) * window_height; ++y) {
        for (int x = j * window_width; x < (j + 1) * window_width; ++x) patches.push_back(y * grid.width + x);
      }
    }
  }
  return patches;
}

inline std::vector<float> patches(const std::vector<float>& pixels, int batch, int channels, int patch,
                                  const WindowGrid& grid) {
  const int height = grid.height * patch, width = grid.width * patch;
  std::vector<float> rows;
  for (int b = 0; b < batch; ++b) {
    for (const int token : patch_of_token(grid)) {
      for (int c = 0; c < channels; ++c) {
        for (int i = 0; i < patch; ++i) {
          for (int j = 0; j < patch; ++j) {
            const int y = token / grid.width * patch + i, x = token % grid.width * patch + j;
            rows.push_back(token < 0 ? 0.0f : pixels[((std::size_t(b) * channels + c) * height + y) * width + x]);
          }
        }
      }
    }
  }
  return rows;
}

}  // namespace vistazo::reference
