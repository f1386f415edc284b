#pragma once

#include <cstddef>
#include <vector>

namespace vistazo::reference {

// x (B, tokens, heads * head_dim), rotated as kernels/rope.h says. Real: double, or float as the plain loop.
struct RopeShape {
  int batch, tokens, heads, head_dim, prefix;
};

template <typename Real>
std::vector<Real> rope(const RopeShape& s, const std::vector<float>& table, const std::vector<float>& x) {
  std::vector<Real> y(x.begin(), x.end());
  const int half = s.head_dim / 2, cols = s.heads * s.head_dim;
  for (int row = 0; row < s.batch * s.tokens; ++row) {
    const int token = row % s.tokens - s.prefix;
    if (token < 0) continue;
    for (int i = 0; i < s.heads * half; ++i) {
      const float* angle = table.data() + token * s.head_dim + i % half;
      const std::size_t first = std::size_t(row) * cols + i / half * s.head_dim + i % half;
      const Real cosine = angle[0], sine = angle[half], low = x[first], high = x[first + half];
      y[first] = low * cosine - high * sine;
      y[first + half] = high * cosine + low * sine;
    }
  }
  return y;
}

}  // namespace vistazo::reference
