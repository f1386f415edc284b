#pragma once

#include <cmath>
#include <vector>

#include "tests/reference/activation.h"

namespace vistazo::reference {

// x (rows, cols) dense. Real: double, or float as the plain loop that a kernel's error is compared with.
template <typename Real>
std::vector<Real> layer_norm(const std::vector<float>& x, const std::vector<float>& scale,
                             const std::vector<float>& bias, float eps, Activation activation) {
  const std::size_t cols = scale.size(), rows = x.size() / cols;
  std::vector<Real> y(x.size());
  for (std::size_t r = 0; r < rows; ++r) {
    Real sum = 0, squares = 0;
    for (std::size_t c = 0; c < cols; ++c) sum += x[r * cols + c];
    const Real mean = sum / static_cast<Real>(cols);
    for (std::size_t c = 0; c < cols; ++c) squares += (x[r * cols + c] - mean) * (x[r * cols + c] - mean);
    const Real factor = 1 / std::sqrt(squares / static_cast<Real>(cols) + eps);
    for (std::size_t c = 0; c < cols; ++c) {
      y[r * cols + c] = activate((x[r * cols + c] - mean) * factor * scale[c] + bias[c], activation);
    }
  }
  return y;
}

}  // namespace vistazo::reference
