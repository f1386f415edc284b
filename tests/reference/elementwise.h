#pragma once

#include <vector>

namespace vistazo::reference {

// a (rows, cols), b (b_rows, cols) repeated, or empty.
inline std::vector<double> add(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<double> y(a.begin(), a.end());
  for (std::size_t i = 0; i < y.size() && !b.empty(); ++i) y[i] += b[i % b.size()];
  return y;
}

}  // namespace vistazo::reference
