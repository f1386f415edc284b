#pragma once

#include <vector>

namespace vistazo::reference {

// x: (batch, tokens, cols). Real: double, or float as the plain loop that a kernel's error is compared with.
template <typename Real>
std::vector<Real> add_mean(const std::vector<float>& x, std::size_t tokens, std::size_t cols) {
  std::vector<Real> y(x.begin(), x.end());
  for (std::size_t column = 0; column < x.size() / tokens; ++column) {
    const std::size_t first = column / cols * tokens * cols + column % cols;
    Real sum = 0;
    for (std::size_t t = 0; t < tokens; ++t) sum += Real(x[first + t * cols]);
    for (std::size_t t = 0; t < tokens; ++t) y[first + t * cols] += sum / static_cast<Real>(tokens);
  }
  return y;
}

}  // namespace vistazo::reference
