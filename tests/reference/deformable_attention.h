#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/deformable_attention.h"

namespace vistazo::reference {

// value and out as dense vectors of (already rounded) values; value rows are value_row_stride apart. T is double for
// the reference, float for the plain loop whose error bounds the kernel's.
template <typename T>
std::vector<T> deformable_attention(const DeformableAttentionArgs& a, const std::vector<float>& value) {
  std::size_t area = 0;
  for (int l = 0; l < a.levels; ++l) area += std::size_t(a.level_height[l]) * a.level_width[l];
  const int head_samples = a.head_samples(), samples = a.heads * head_samples;
  std::vector<T> out(std::size_t(a.batch) * a.queries * a.heads * a.head_dim, T(0));
  for (int row = 0; row < a.batch * a.queries; ++row) {
    const float* box = a.reference + row * 4;
    const float* offsets = a.offset_logits + std::size_t(row) * samples * 3;
    for (int h = 0; h < a.heads; ++h) {
      const float* logits = offsets + 2 * samples + h * head_samples;
      const float largest = *std::max_element(logits, logits + head_samples);
      T sum = 0;
      for (int i = 0; i < head_samples; ++i) sum += std::exp(T(logits[i]) - T(largest));
      std::size_t level_begin = row / a.queries * area;
      int i = 0;
      for (int l = 0; l < a.levels; ++l) {
        const int height = a.level_height[l], width = a.level_width[l];
        for (int p = 0; p < a.level_points[l]; ++p, ++i) {
          const float* offset = offsets + (h * head_samples + i) * 2;
          const T attention = std::exp(T(logits[i]) - T(largest)) / sum;
          const T x = (T(box[0]) + T(offset[0]) / T(a.level_points[l]) * T(box[2]) / 2) * T(width) - T(0.5);
          const T y = (T(box[1]) + T(offset[1]) / T(a.level_points[l]) * T(box[3]) / 2) * T(height) - T(0.5);
          const auto add = [&](int yi, int xi, T weight) {
            const float* from = &value[(level_begin + std::size_t(yi) * width + xi) * a.value_row_stride];
            T* to = &out[(std::size_t(row) * a.heads + h) * a.head_dim];
            for (int d = 0; d < a.head_dim; ++d) to[d] += weight * T(from[h * a.head_dim + d]);
          };
          if (a.takes_nearest) {
            const auto cell = [](T position, int size) {  // NaN: 0
              return position + 1 > 0 ? int(std::floor(std::min(position + 1, T(size - 1)))) : 0;
            };
            add(cell(y, height), cell(x, width), attention);
            continue;
          }
          // A position that is not finite, or far out, has no corner inside.
          if (!(x > -1 && x < width && y > -1 && y < height)) continue;
          const int left = int(std::floor(x)), top = int(std::floor(y));
          for (int yi = top; yi <= top + 1; ++yi) {
            for (int xi = left; xi <= left + 1; ++xi) {
              if (xi < 0 || xi >= width || yi < 0 || yi >= height) continue;
              add(yi, xi, attention * (T(1) - std::abs(x - T(xi))) * (T(1) - std::abs(y - T(yi))));
            }
          }
        }
        level_begin += std::size_t(height) * width;
      }
    }
  }
  return out;
}

}  // namespace vistazo::reference
