#pragma once

#include <cmath>
#include <vector>

// Real: double, or float as the plain loop that a kernel's error is compared with.
namespace vistazo::reference {

template <typename Real>
Real sigmoid(Real x) {
  return 1 / (1 + std::exp(-x));
}

// x (rows, 2 * cols) -> (rows, cols), dense.
template <typename Real>
std::vector<Real> swiglu(const std::vector<float>& x, std::size_t cols) {
  std::vector<Real> y;
  for (std::size_t r = 0; r < x.size() / (2 * cols); ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      const Real gate = x[r * 2 * cols + c], value = x[r * 2 * cols + cols + c];
      y.push_back(gate * sigmoid(gate) * value);
    }
  }
  return y;
}

// gates (rows, 2 * cols), a and b (rows, cols), dense.
template <typename Real>
std::vector<Real> gated_sum(const std::vector<float>& gates, const std::vector<float>& a, const std::vector<float>& b,
                            std::size_t cols) {
  std::vector<Real> y;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const std::size_t gate = i / cols * 2 * cols + i % cols;
    y.push_back(sigmoid(Real(gates[gate])) * Real(a[i]) + sigmoid(Real(gates[gate + cols])) * Real(b[i]));
  }
  return y;
}

}  // namespace vistazo::reference
