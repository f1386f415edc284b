#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace vistazo::reference {

// Over the columns of x (rows, cols). Real: double, or float as the plain loop that a kernel's error is compared with.
template <typename Real>
std::vector<Real> softmax(const std::vector<float>& x, std::size_t cols) {
  std::vector<Real> y(x.size());
  for (std::size_t row = 0; row < x.size(); row += cols) {
    const Real largest = *std::max_element(x.begin() + static_cast<std::ptrdiff_t>(row),
                                           x.begin() + static_cast<std::ptrdiff_t>(row + cols));
    Real sum = 0;
    for (std::size_t i = row; i < row + cols; ++i) sum += y[i] = std::exp(static_cast<Real>(x[i]) - largest);
    for (std::size_t i = row; i < row + cols; ++i) y[i] /= sum;
  }
  return y;
}

}  // namespace vistazo::reference
