#pragma once

#include <vistazo/detector.h>

#include <span>

namespace vistazo {

// How far the best scores of an f16 model's queries are from those of the same model in f32, as the relative norm of
// the difference of the sorted best logits: sorted, because nearly equal proposals may change places. Infinite where
// f16 overflowed. logits (queries, classes).
double half_distance(std::span<const float> f16_logits, std::span<const float> f32_logits, int classes);

// Rounding to 11 bits in some 100 layers costs about 1e-3; a model that leaves the range of f16 is off by 1 or more.
inline constexpr double kMaxHalfDistance = 0.05;

}  // namespace vistazo
