#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "tests/support/buffers.h"

namespace vistazo::testing {

// A table of kernels/rope.h with random angles; those of a grid so wide, unless width is 0. Entries are multiples of
// `step`: at 2^-12 their products with f16 or bf16 are exact in f32, and a rotation is the same to the last bit whether
// its products are fused with the addition or not.
inline std::vector<float> rope_table(int tokens, int head_dim, int width, float step = 0x1p-12f) {
  const auto half = static_cast<std::size_t>(head_dim / 2), rows = static_cast<std::size_t>(tokens);
  const auto angles = random_floats(rows * half, 9, 0.0f, 5.0f);
  std::vector<float> table(rows * 2 * half);
  for (std::size_t token = 0; token < rows; ++token) {
    for (std::size_t i = 0; i < half; ++i) {
      std::size_t source = token;
      if (width > 0) {
        const auto columns = static_cast<std::size_t>(width);
        source = i < half / 2 ? token / columns : token % columns;
      }
      const float angle = angles[source * half + i];
      table[token * 2 * half + i] = std::round(std::cos(angle) / step) * step;
      table[token * 2 * half + half + i] = std::round(std::sin(angle) / step) * step;
    }
  }
  return table;
}

}  // namespace vistazo::testing
