#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "kernels/yuv_to_bgr.h"

namespace vistazo::reference {

// The formula of kernels/yuv_to_bgr.h in double, clipped but not rounded: (height, width, 3) in the order B, G, R.
inline std::vector<double> yuv_to_bgr(const YuvToBgrArgs& a) {
  const double kr = a.matrix == YuvMatrix::bt601 ? 0.299 : a.matrix == YuvMatrix::bt709 ? 0.2126 : 0.2627;
  const double kb = a.matrix == YuvMatrix::bt601 ? 0.114 : a.matrix == YuvMatrix::bt709 ? 0.0722 : 0.0593;
  const double kg = 1 - kr - kb;
  std::vector<double> bgr;
  for (int row = 0; row < a.height; ++row) {
    for (int column = 0; column < a.width; ++column) {
      const std::ptrdiff_t chroma = row / 2 * a.chroma_row_bytes + column / 2 * a.chroma_step;
      const double y = a.y[row * a.y_row_bytes + column], u = a.u[chroma] - 128.0, v = a.v[chroma] - 128.0;
      const double luma = a.is_full_range ? y : (y - 16) * 255 / 219, scale = a.is_full_range ? 1 : 255.0 / 224;
      const double red = luma + scale * 2 * (1 - kr) * v, blue = luma + scale * 2 * (1 - kb) * u;
      const double green = luma - scale * (2 * (1 - kb) * kb / kg * u + 2 * (1 - kr) * kr / kg * v);
      for (const double value : {blue, green, red}) bgr.push_back(std::clamp(value, 0.0, 255.0));
    }
  }
  return bgr;
}

}  // namespace vistazo::reference
