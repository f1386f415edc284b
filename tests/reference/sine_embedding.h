#pragma once

#include <cmath>
#include <numbers>
#include <vector>

namespace vistazo::reference {

// T is double for the reference, float for the plain loop whose error bounds the kernel's.
template <typename T>
std::vector<T> sine_embedding(const std::vector<float>& boxes, int dim, float temperature) {
  std::vector<T> y;
  for (std::size_t row = 0; row < boxes.size() / 4; ++row) {
    for (const int part : {1, 0, 2, 3}) {
      for (int i = 0; i < dim; ++i) {
        const T divisor = T(std::pow(double(temperature), double(i / 2 * 2) / dim));
        const T angle = T(boxes[row * 4 + part]) * (2 * std::numbers::pi_v<T>) / divisor;
        y.push_back(i % 2 ? std::cos(angle) : std::sin(angle));
      }
    }
  }
  return y;
}

}  // namespace vistazo::reference
