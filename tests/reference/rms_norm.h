#pragma once

#include <cmath>
#include <vector>

namespace vistazo::reference {

// x (rows, cols) dense. Real: double, or float as the plain loop that a kernel's error is compared with.
template <typename Real>
std::vector<Real> rms_norm(const std::vector<float>& x, const std::vector<float>& scale, float eps) {
  const std::size_t cols = scale.size(), rows = x.size() / cols;
  std::vector<Real> y(x.size());
  for (std::size_t r = 0; r < rows; ++r) {
    Real squares = 0;
    for (std::size_t c = 0; c < cols; ++c) squares += Real(x[r * cols + c]) * Real(x[r * cols + c]);
    const Real factor = 1 / std::sqrt(squares / static_cast<Real>(cols) + Real(eps));
    for (std::size_t c = 0; c < cols; ++c) y[r * cols + c] = Real(x[r * cols + c]) * factor * Real(scale[c]);
  }
  return y;
}

}  // namespace vistazo::reference
