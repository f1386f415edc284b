#pragma once

#include <vector>

#include "tests/reference/activation.h"

namespace vistazo::reference {

// x (rows, in), weight (out, in), bias (out) or empty, start (rows, out) or empty: the y that is added to. Real:
// double, or float as the plain loop that a kernel's error is compared with.
template <typename Real>
std::vector<Real> linear(const std::vector<float>& x, const std::vector<float>& weight, const std::vector<float>& bias,
                         const std::vector<float>& start, int in, int out, Activation activation) {
  const std::size_t k = static_cast<std::size_t>(in), n = static_cast<std::size_t>(out), rows = x.size() / k;
  std::vector<Real> y(rows * n);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t o = 0; o < n; ++o) {
      Real sum = 0;
      for (std::size_t i = 0; i < k; ++i) sum += static_cast<Real>(x[r * k + i]) * static_cast<Real>(weight[o * k + i]);
      if (!bias.empty()) sum += bias[o];
      y[r * n + o] = activate(sum, activation);
      if (!start.empty()) y[r * n + o] += start[r * n + o];
    }
  }
  return y;
}

}  // namespace vistazo::reference
