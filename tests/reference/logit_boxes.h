#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace vistazo::reference {

// T is double for the reference, float for the plain loop whose error bounds the kernel's.
template <typename T>
std::vector<T> logit_boxes(const std::vector<float>& reference, const std::vector<float>& delta, bool is_logits) {
  std::vector<T> y;
  for (std::size_t i = 0; i < delta.size(); ++i) {
    T start = reference[i % reference.size()];
    if (!is_logits) {
      const T p = std::clamp(start, T(0), T(1));
      start = std::log(std::max(p, T(1e-5)) / std::max(1 - p, T(1e-5)));
    }
    y.push_back(1 / (1 + std::exp(-(T(delta[i]) + start))));
  }
  return y;
}

}  // namespace vistazo::reference
