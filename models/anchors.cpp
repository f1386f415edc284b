#include "models/anchors.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vistazo {
namespace {

template <typename Use>
void for_each_anchor(std::span<const GridSize> levels, Use&& use) {
  constexpr float kMargin = 0.01f, kSide = 0.05f;
  for (std::size_t l = 0; l < levels.size(); ++l) {
    const float side = std::ldexp(kSide, static_cast<int>(l));
    for (int y = 0; y < levels[l].height; ++y) {
      for (int x = 0; x < levels[l].width; ++x) {
        const float anchor[4] = {(static_cast<float>(x) + 0.5f) / static_cast<float>(levels[l].width),
                                 (static_cast<float>(y) + 0.5f) / static_cast<float>(levels[l].height), side, side};
        use(anchor, std::ranges::all_of(anchor, [](float v) { return v > kMargin && v < 1.0f - kMargin; }));
      }
    }
  }
}

}  // namespace

void fill_anchor_logits(std::span<const GridSize> levels, std::span<float> logits) {
  float* to = logits.data();
  for_each_anchor(levels, [&](const float(&anchor)[4], bool is_valid) {
    for (const float v : anchor) *to++ = is_valid ? std::log(v / (1.0f - v)) : std::numeric_limits<float>::max();
  });
}

void fill_anchor_mask(std::span<const GridSize> levels, std::span<float> mask) {
  float* to = mask.data();
  for_each_anchor(levels, [&](const float(&)[4], bool is_valid) { *to++ = is_valid ? 1.0f : 0.0f; });
}

}  // namespace vistazo
