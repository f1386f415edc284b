#include "engine/half_check.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

namespace vistazo {
namespace {

std::vector<float> sorted_best(std::span<const float> logits, int classes) {
  const auto step = static_cast<std::size_t>(classes);
  std::vector<float> best;
  for (std::size_t i = 0; i + step <= logits.size(); i += step) {
    best.push_back(*std::ranges::max_element(logits.subspan(i, step)));
  }
  std::ranges::sort(best, std::greater<>());
  return best;
}

}  // namespace

double half_distance(std::span<const float> f16_logits, std::span<const float> f32_logits, int classes) {
  if (!std::ranges::all_of(f16_logits, [](float v) { return std::isfinite(v); })) {
    return std::numeric_limits<double>::infinity();
  }
  const std::vector<float> a = sorted_best(f16_logits, classes), b = sorted_best(f32_logits, classes);
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

}  // namespace vistazo
