#pragma once

#include <vector>

#include "kernels/rope.h"

namespace vistazo::reference {

// x: (B, tokens, heads * head_dim), dense. Real: double, or float as the plain loop.
template <typename Real>
std::vector<Real> rope(const RopeArgs& a, const std::vector<float>& x) {
  std::vector<Real> y(x.begin(), x.end());
  const int half = a.head_dim / 2, cols = a.heads * a.head_dim;
  for (int row = 0; row < a.batch * a.tokens; ++row) {
    const int token = row % a.tokens - a.prefix;
    if (token < 0) continue;
    for (int i = 0; i < a.heads * half; ++i) {
      const float* angle = a.table + token * a.head_dim + i % half;
      const std::size_t first = std::size_t(row) * cols + i / half * a.head_dim + i % half;
      const Real cosine = angle[0], sine = angle[half], low = x[first], high = x[first + half];
      y[first] = low * cosine - high * sine;
      y[first + half] = high * cosine + low * sine;
    }
  }
  return y;
}

}  // namespace vistazo::reference
