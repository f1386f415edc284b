#include "models/deformable_decoder.h"

#include <fmt/format.h>

#include <array>

#include "models/attention_weights.h"

namespace vistazo {
namespace {

void append(std::vector<float>& to, std::span<const float> from) {
  to.insert(to.end(), from.begin(), from.end());
}

constexpr float kKernelOffsetScale = 0.5f;  // kernels/deformable_attention.h: an offset of 1 is half the box

// The kernel takes a query's offsets and then its logits from one row.
Linear read_offset_logits(const WeightCursor& w, const DecoderConfig& c) {
  const int samples = c.cross_heads * c.levels * c.points;
  std::vector<float> weight = w.floats("sampling_offsets.weight", {2 * samples, c.dim});
  std::vector<float> bias = w.floats("sampling_offsets.bias", {2 * samples});
  const float factor = c.offset_scale / kKernelOffsetScale;
  for (std::vector<float>* offsets : {&weight, &bias}) {
    for (float& v : *offsets) v *= factor;
  }
  append(weight, w.floats("attention_weights.weight", {samples, c.dim}));
  append(bias, w.floats("attention_weights.bias", {samples}));
  return w.store().linear(weight, bias, c.dim, 3 * samples);
}

// x = norm(x + sublayer(x)), in place: the sublayer has been added.
void normalize(Ops& ops, const Norm& norm, const Tensor& x) {
  ops.layer_norm_into(x, norm, x);
}

}  // namespace

Mlp read_mlp(const WeightCursor& w, int in, int hidden, int out, int layers) {
  Mlp mlp;
  for (int i = 0; i < layers; ++i) {
    mlp.push_back(w.linear(fmt::format("layers.{}", i), i == 0 ? in : hidden, i + 1 == layers ? out : hidden));
  }
  return mlp;
}

// All but the last layer.
static Tensor run_hidden(Ops& ops, const Mlp& mlp, const Tensor& x, Activation activation) {
  Tensor y = x;
  for (std::size_t i = 0; i + 1 < mlp.size(); ++i) y = ops.linear(y, mlp[i], activation);
  return y;
}

Tensor run_mlp(Ops& ops, const Mlp& mlp, const Tensor& x, Activation activation) {
  return ops.linear(run_hidden(ops, mlp, x, activation), mlp.back());
}

Tensor run_mlp_f32(Ops& ops, const Mlp& mlp, const Tensor& x, Activation activation) {
  return ops.linear_f32(run_hidden(ops, mlp, x, activation), mlp.back());
}

void run_mlp_add(Ops& ops, const Mlp& mlp, const Tensor& x, const Tensor& y, Activation activation) {
  ops.linear_add(run_hidden(ops, mlp, x, activation), mlp.back(), y);
}

DecoderLayer read_decoder_layer(const WeightCursor& w, const DecoderLayerNames& names, const DecoderConfig& c) {
  DecoderLayer layer{};
  const SelfAttentionInputs inputs = read_self_attention_inputs(w.child("self_attn"), c.dim);
  layer.query_key = inputs.query_key;
  layer.value = inputs.value;
  layer.self_out = w.child("self_attn").linear(names.self_out, c.dim, c.dim);
  layer.offset_logits = read_offset_logits(w.child(names.cross), c);
  layer.cross_out = w.child(names.cross).linear("output_proj", c.dim, c.dim);
  layer.fc1 = w.linear(names.fc1, c.dim, c.ffn_dim);
  layer.fc2 = w.linear(names.fc2, c.ffn_dim, c.dim);
  layer.norm1 = w.norm(names.norm1, c.dim, c.norm_eps);
  layer.norm2 = w.norm(names.norm2, c.dim, c.norm_eps);
  layer.norm3 = w.norm(names.norm3, c.dim, c.norm_eps);
  return layer;
}

Linear read_decoder_values(const WeightCursor& w, const DecoderLayerNames& names, const DecoderConfig& c) {
  std::vector<float> weight, bias;
  for (int i = 0; i < c.layers; ++i) {
    const WeightCursor projection = w.child(fmt::format("layers.{}.{}.value_proj", i, names.cross));
    append(weight, projection.floats("weight", {c.dim, c.dim}));
    append(bias, projection.floats("bias", {c.dim}));
  }
  return w.store().linear(weight, bias, c.dim, c.layers * c.dim);
}

void run_decoder_layer(Ops& ops, const DecoderLayer& layer, const DecoderConfig& c, const Tensor& x,
                       const Tensor& position, const Tensor& reference, const Tensor& values,
                       std::span<const GridSize> levels) {
  {
    const auto released = ops.scope();
    const auto [content, placed] = ops.cast_and_add(x, position);
    const Tensor query_key = ops.linear(placed, layer.query_key);
    const Tensor value = ops.linear(content, layer.value);
    const Tensor mixed =
        ops.attention(query_key.columns(0, c.dim), query_key.columns(c.dim, 2 * c.dim), value, c.self_heads);
    ops.linear_add(mixed, layer.self_out, x);
  }
  const auto released = ops.scope();
  const Tensor placed = ops.layer_norm_for(x, layer.norm1, &position);
  {
    const auto inner = ops.scope();
    const Tensor offset_logits = ops.linear_f32(placed, layer.offset_logits);
    std::array<int, DeformableAttentionArgs::kMaxLevels> points;
    points.fill(c.points);
    const Tensor sampled = ops.deformable_attention(values, levels, reference, offset_logits, c.cross_heads,
                                                    std::span(points).first(levels.size()), c.takes_nearest);
    ops.linear_add(sampled, layer.cross_out, x);
  }
  const Tensor content = ops.layer_norm_for(x, layer.norm2);
  ops.linear_add(ops.linear(content, layer.fc1, c.activation), layer.fc2, x);
  normalize(ops, layer.norm3, x);
}

DeformableDecoder read_deformable_decoder(const WeightCursor& w, std::string_view norm_name,
                                          const DecoderLayerNames& names, const DecoderConfig& c) {
  DeformableDecoder decoder;
  for (int i = 0; i < c.layers; ++i) {
    decoder.layers.push_back(read_decoder_layer(w.child(fmt::format("layers.{}", i)), names, c));
  }
  decoder.values = read_decoder_values(w, names, c);
  decoder.norm = w.norm(norm_name, c.dim, c.norm_eps);
  decoder.position_head = read_mlp(w.child("ref_point_head"), 2 * c.dim, c.dim, c.dim, 2);
  return decoder;
}

Tensor run_deformable_decoder(Ops& ops, const DeformableDecoder& decoder, const DecoderConfig& c, const Tensor& queries,
                              const Tensor& reference, const Tensor& memory, std::span<const GridSize> levels) {
  constexpr float kTemperature = 10000.0f;
  Tensor out = ops.empty(queries.shape, ops.dtype());
  const auto released = ops.scope();
  const Tensor values = ops.linear(memory, decoder.values);
  const Tensor position = run_mlp(ops, decoder.position_head, ops.sine_embedding(reference, c.dim / 2, kTemperature));
  for (int i = 0; i < c.layers; ++i) {
    run_decoder_layer(ops, decoder.layers[static_cast<std::size_t>(i)], c, queries, position, reference,
                      values.columns(i * c.dim, (i + 1) * c.dim), levels);
  }
  ops.layer_norm_into(queries, decoder.norm, out);
  return out;
}

}  // namespace vistazo
