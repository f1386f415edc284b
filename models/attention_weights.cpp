#include "models/attention_weights.h"

#include <span>
#include <vector>

namespace vistazo {

SelfAttentionInputs read_self_attention_inputs(const WeightCursor& w, int dim) {
  if (!w.has("in_proj_weight")) {
    return {w.fused_linear({"q_proj", "k_proj"}, dim, dim), w.linear("v_proj", dim, dim)};
  }
  const std::vector<float> weight = w.floats("in_proj_weight", {3 * dim, dim});
  const std::vector<float> bias = w.floats("in_proj_bias", {3 * dim});
  const std::span<const float> weights(weight), biases(bias);
  const auto size = static_cast<std::size_t>(dim);
  return {w.store().linear(weights.first(2 * size * size), biases.first(2 * size), dim, 2 * dim),
          w.store().linear(weights.last(size * size), biases.last(size), dim, dim)};
}

}  // namespace vistazo
