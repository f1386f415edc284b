#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace vistazo::reference {

// T is double for the reference, float for the plain loop whose error bounds the kernel's.
template <typename T>
std::vector<T> refine_boxes(const std::vector<float>& reference, const std::vector<float>& delta) {
  std::vector<T> y(reference.size());
  for (std::size_t r = 0; r < reference.size() / 4; ++r) {
    const float* box = &reference[r * 4];
    const float* d = &delta[r * 4 % delta.size()];
    for (int i = 0; i < 2; ++i) {
      y[r * 4 + i] = T(box[i]) + T(d[i]) * T(box[i + 2]);
      y[r * 4 + i + 2] = T(box[i + 2]) * std::exp(T(d[i + 2]));
    }
  }
  return y;
}

inline std::vector<float> proposal_scores(const std::vector<float>& logits, const std::vector<float>& proposals,
                                          int batch, int rows, int classes) {
  std::vector<float> scores;
  for (int b = 0; b < batch; ++b) {
    for (int i = 0; i < rows; ++i) {
      float best = -std::numeric_limits<float>::infinity();
      for (int c = 0; c < classes; ++c) {
        const float logit = logits[(std::size_t(b) * rows + i) * classes + c];
        if (!std::isnan(logit) && proposals[i * 4 + 2] > 0.0f) best = std::max(best, logit);
      }
      scores.push_back(best);
    }
  }
  return scores;
}

}  // namespace vistazo::reference
