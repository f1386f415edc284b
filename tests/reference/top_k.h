#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace vistazo::reference {

// Columns of the k largest scores of one row: a stable sort of all of them.
inline std::vector<std::int32_t> top_k(const float* scores, int cols, int k) {
  std::vector<std::int32_t> index(cols);
  std::iota(index.begin(), index.end(), 0);
  std::stable_sort(index.begin(), index.end(), [&](std::int32_t a, std::int32_t b) {
    if (std::isnan(scores[a]) || std::isnan(scores[b])) return !std::isnan(scores[a]) && std::isnan(scores[b]);
    return scores[a] > scores[b];
  });
  index.resize(k);
  return index;
}

}  // namespace vistazo::reference
