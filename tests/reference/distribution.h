#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

// Real: double, or float as the plain loop that a kernel's error is compared with.
namespace vistazo::reference {

// Rows of `bins` logits -> probabilities.
template <typename Real>
std::vector<Real> softmax_rows(const std::vector<float>& logits, std::size_t bins) {
  std::vector<Real> p(logits.begin(), logits.end());
  for (auto row = p.begin(); row != p.end(); row += static_cast<std::ptrdiff_t>(bins)) {
    const auto end = row + static_cast<std::ptrdiff_t>(bins);
    const Real largest = *std::max_element(row, end);
    for (auto i = row; i != end; ++i) *i = std::exp(*i - largest);
    const Real sum = std::accumulate(row, end, Real(0));
    for (auto i = row; i != end; ++i) *i /= sum;
  }
  return p;
}

// reference (rows, 4) -> boxes (rows, 4). As D-FINE writes it: corners first, then centre and size.
template <typename Real>
std::vector<Real> edge_boxes(const std::vector<float>& logits, const std::vector<float>& weights,
                             const std::vector<float>& reference, float scale) {
  const std::size_t bins = weights.size();
  const auto p = softmax_rows<Real>(logits, bins);
  std::vector<Real> boxes;
  for (std::size_t r = 0; r < reference.size() / 4; ++r) {
    Real corners[4];
    for (std::size_t e = 0; e < 4; ++e) {
      Real distance = 0;
      for (std::size_t n = 0; n < bins; ++n) distance += p[(r * 4 + e) * bins + n] * Real(weights[n]);
      const Real step = (Real(scale) / 2 + distance) * Real(reference[r * 4 + 2 + e % 2]) / Real(scale);
      corners[e] = Real(reference[r * 4 + e % 2]) + (e < 2 ? -step : step);
    }
    for (int i = 0; i < 2; ++i) boxes.push_back((corners[i] + corners[i + 2]) / 2);
    for (int i = 0; i < 2; ++i) boxes.push_back(corners[i + 2] - corners[i]);
  }
  return boxes;
}

// -> (rows, 4, k + 1)
template <typename Real>
std::vector<Real> edge_peaks(const std::vector<float>& logits, std::size_t bins, std::size_t k) {
  auto p = softmax_rows<Real>(logits, bins);
  std::vector<Real> peaks;
  for (std::size_t edge = 0; edge < p.size() / bins; ++edge) {
    const auto begin = p.begin() + static_cast<std::ptrdiff_t>(edge * bins);
    std::sort(begin, begin + static_cast<std::ptrdiff_t>(bins), std::greater<>());
    peaks.insert(peaks.end(), begin, begin + static_cast<std::ptrdiff_t>(k));
    peaks.push_back(std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(k), Real(0)) / static_cast<Real>(k));
  }
  return peaks;
}

}  // namespace vistazo::reference
