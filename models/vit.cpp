#include "models/vit.h"

namespace vistazo {
namespace {

Linear read_qkv(const WeightCursor& w, const VitConfig& c) {
  if (c.has_qkv_bias) return w.fused_linear({"query", "key", "value"}, c.dim, c.dim);
  std::vector<float> weight;
  for (const char* name : {"query.weight", "key.weight", "value.weight"}) {
    const std::vector<float> part = w.floats(name, {c.dim, c.dim});
    weight.insert(weight.end(), part.begin(), part.end());
  }
  return w.store().linear(weight, {}, c.dim, 3 * c.dim);
}

}  // namespace

VitBlock read_vit_block(const WeightCursor& w, const VitConfig& c) {
  const std::vector<float> scale1 = w.floats("layer_scale1.lambda1", {c.dim});
  const std::vector<float> scale2 = w.floats("layer_scale2.lambda1", {c.dim});
  return {.norm1 = w.norm("norm1", c.dim, c.norm_eps),
          .qkv = read_qkv(w.child("attention.attention"), c),
          .proj = w.linear("attention.output.dense", c.dim, c.dim, scale1),
          .norm2 = w.norm("norm2", c.dim, c.norm_eps),
          .fc1 = w.linear("mlp.fc1", c.dim, c.mlp_dim),
          .fc2 = w.linear("mlp.fc2", c.mlp_dim, c.dim, scale2)};
}

void run_vit_block(Ops& ops, const VitBlock& block, const VitConfig& c, const Tensor& x, const Rope* rope) {
  {
    const auto released = ops.scope();
    const Tensor qkv = ops.linear(ops.layer_norm(x, block.norm1), block.qkv);  // (B, N, 3C)
    const Tensor mixed = ops.attention(qkv.columns(0, c.dim), qkv.columns(c.dim, 2 * c.dim),
                                       qkv.columns(2 * c.dim, 3 * c.dim), c.heads, rope);
    ops.linear_add(mixed, block.proj, x);
  }
  const auto released = ops.scope();
  const Tensor normalized = ops.layer_norm(x, block.norm2);
  const Tensor hidden = c.has_gated_mlp ? ops.swiglu(ops.linear(normalized, block.fc1))
                                        : ops.linear(normalized, block.fc1, Activation::gelu);
  ops.linear_add(hidden, block.fc2, x);
}

}  // namespace vistazo
