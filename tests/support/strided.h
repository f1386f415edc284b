#pragma once

#include <cmath>
#include <vector>

// Rows with gaps between them, as column slices of a wider tensor have.
namespace vistazo::testing {

inline constexpr float kGapFiller = 77.0f;  // exact in bf16

// Rows of `width` values at a stride of `width + gap`; the gaps hold kGapFiller.
inline std::vector<float> spread_rows(const std::vector<float>& values, int width, int gap) {
  std::vector<float> result;
  for (std::size_t i = 0; i < values.size(); ++i) {
    result.push_back(values[i]);
    const bool is_row_end = (i + 1) % static_cast<std::size_t>(width) == 0;
    if (is_row_end) result.insert(result.end(), static_cast<std::size_t>(gap), kGapFiller);
  }
  return result;
}

// The opposite. A gap that was written to makes the value before it NaN, which no comparison passes.
inline std::vector<float> gather_rows(const std::vector<float>& values, int width, int gap) {
  std::vector<float> result;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % static_cast<std::size_t>(width + gap) < static_cast<std::size_t>(width)) {
      result.push_back(values[i]);
    } else if (values[i] != kGapFiller) {
      result.back() = NAN;
    }
  }
  return result;
}

}  // namespace vistazo::testing
