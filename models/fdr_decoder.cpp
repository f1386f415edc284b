#include "models/fdr_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/anchors.h"
#include "models/attention_weights.h"

namespace vistazo {
namespace {

constexpr float kRmsNormEps = 1e-6f;

void append(std::vector<float>& to, std::span<const float> from) {
  to.insert(to.end(), from.begin(), from.end());
}

// --- reading -------------------------------------------------------------------------------------------------------

Norm read_norm(const WeightCursor& w, std::string_view name, const FdrNames& names, const FdrConfig& c) {
  if (!c.has_rms_norms) return w.norm(name, c.dim, c.norm_eps);
  return w.store().norm(w.child(name).floats(names.rms_scale, {c.dim}), {}, kRmsNormEps);
}

// The kernel takes a query's offsets and then its logits from one row, and scales offsets by half a box.
Linear read_offset_logits(const WeightCursor& w, const FdrConfig& c) {
  int samples = 0;
  for (const int points : c.points) samples += c.heads * points;
  std::vector<float> weight = w.floats("sampling_offsets.weight", {2 * samples, c.dim});
  std::vector<float> bias = w.floats("sampling_offsets.bias", {2 * samples});
  for (float& v : weight) v *= 2 * c.offset_scale;
  for (float& v : bias) v *= 2 * c.offset_scale;
  append(weight, w.floats("attention_weights.weight", {samples, c.dim}));
  append(bias, w.floats("attention_weights.bias", {samples}));
  w.ignore("num_points_scale");  // 1 / points, which the config says
  return w.store().linear(weight, bias, c.dim, 3 * samples);
}

// One product over (residual, added) becomes one over each, so that nobody has to put the two side by side.
void read_gateway(const WeightCursor& w, const FdrConfig& c, FdrLayer& layer) {
  const std::vector<float> weight = w.floats("gate.weight", {2 * c.dim, 2 * c.dim});
  const std::vector<float> bias = w.floats("gate.bias", {2 * c.dim});
  const auto dim = static_cast<std::size_t>(c.dim);
  std::vector<float> of_residual, of_added;
  for (std::size_t row = 0; row < 2 * dim; ++row) {
    append(of_residual, std::span(weight).subspan(row * 2 * dim, dim));
    append(of_added, std::span(weight).subspan(row * 2 * dim + dim, dim));
  }
  layer.gate_residual = w.store().linear(of_residual, bias, c.dim, 2 * c.dim);
  layer.gate_added = w.store().linear(of_added, {}, c.dim, 2 * c.dim);
}

void read_feed_forward(const WeightCursor& w, const FdrNames& names, const FdrConfig& c, FdrLayer& layer) {
  if (!c.has_swiglu) {
    layer.fc1 = w.linear(names.fc1, c.dim, c.ffn_dim);
    layer.fc2 = w.linear(names.fc2, c.ffn_dim, c.dim);
    return;
  }
  const int hidden = c.ffn_dim / 2;
  layer.fc1 = names.swiglu_value.empty() ? w.linear(names.swiglu_gate, c.dim, 2 * hidden)
                                         : w.fused_linear({names.swiglu_gate, names.swiglu_value}, c.dim, hidden);
  layer.fc2 = w.linear(names.swiglu_out, hidden, c.dim);
}

FdrLayer read_layer(const WeightCursor& w, const FdrNames& names, const FdrConfig& c) {
  FdrLayer layer{};
  const SelfAttentionInputs inputs = read_self_attention_inputs(w.child("self_attn"), c.dim);
  layer.query_key = inputs.query_key;
  layer.value = inputs.value;
  layer.self_out = w.child("self_attn").linear(names.self_out, c.dim, c.dim);
  layer.norm1 = read_norm(w, names.norm1, names, c);
  layer.offset_logits = read_offset_logits(w.child(names.cross), c);
  if (c.has_gateway) {
    read_gateway(w.child("gateway"), c, layer);
    layer.norm2 = read_norm(w, "gateway.norm", names, c);
  } else {
    layer.norm2 = read_norm(w, names.norm2, names, c);
  }
  read_feed_forward(w, names, c, layer);
  layer.norm3 = read_norm(w, names.norm3, names, c);
  return layer;
}

// The last layer has one output, which is added to all classes: as a product into all of them.
void read_quality_head(const WeightCursor& w, const FdrConfig& c, FdrDecoder& decoder) {
  int in = 4 * (c.peaks + 1);
  for (int i = 0; i + 1 < c.quality_layers; ++i, in = c.quality_hidden) {
    decoder.quality_head.push_back(w.linear(fmt::format("layers.{}", i), in, c.quality_hidden));
  }
  const WeightCursor last = w.child(fmt::format("layers.{}", c.quality_layers - 1));
  const std::vector<float> row = last.floats("weight", {1, in}), bias = last.floats("bias", {1});
  std::vector<float> weight, biases(static_cast<std::size_t>(c.classes), bias[0]);
  for (int i = 0; i < c.classes; ++i) append(weight, row);
  decoder.quality_out = w.store().linear(weight, biases, in, c.classes);
}

// The distance that each bin stands for: D-FINE's W(n) (section 3.2, eq. 3), finer near zero.
std::vector<float> bin_distances(int bins, double up, double scale) {
  const int half = bins / 2;
  const double bound = std::abs(up) * std::abs(scale), step = std::pow(bound + 1, 2.0 / (bins - 3));
  std::vector<float> distances(static_cast<std::size_t>(bins), 0.0f);
  for (int i = 1; i <= half; ++i) {
    const double distance = i == half ? 2 * bound : std::pow(step, i) - 1;
    distances[static_cast<std::size_t>(half + i)] = static_cast<float>(distance);
    distances[static_cast<std::size_t>(half - i)] = static_cast<float>(-distance);
  }
  return distances;
}

// A scalar that checkpoints keep under one of two names, or under both.
float read_scalar(const WeightCursor& root, std::string_view first, std::string_view second, std::string_view name) {
  const std::string here = fmt::format("{}.{}", first, name), there = fmt::format("{}.{}", second, name);
  const bool is_here = root.has(here) || !root.has(there);
  const float value = root.floats(is_here ? here : there, {1})[0];
  root.ignore(is_here ? there : here);
  return value;
}

// The heads of all layers, or one for all, which files keep once or several times over, under any of the indices.
void read_edge_heads(const WeightCursor& w, const FdrConfig& c, FdrDecoder& decoder) {
  const auto read = [&](int index) { return read_mlp(w.child(std::to_string(index)), c.dim, c.dim, 4 * c.bins, 3); };
  if (!c.has_shared_box_head) {
    for (int i = 0; i < c.layers; ++i) decoder.layers[static_cast<std::size_t>(i)].edge_head = read(i);
    return;
  }
  int stored = 0;
  while (stored + 1 < c.layers && !w.has(fmt::format("{}.layers.0.weight", stored))) ++stored;
  const Mlp head = read(w.has(fmt::format("{}.layers.0.weight", stored)) ? stored : 0);
  for (FdrLayer& layer : decoder.layers) layer.edge_head = head;
  w.ignore("");
}

// Layers and heads behind the one that is evaluated, and heads that only losses ask.
void ignore_training_weights(const WeightCursor& root, const FdrNames& names, const FdrConfig& c) {
  constexpr int kMostLayers = 64;
  for (int i = 0; i < kMostLayers; ++i) {
    for (const std::string_view list : {names.class_heads, names.quality}) {
      if (i + 1 != c.layers) root.ignore(fmt::format("{}.{}.", list, i));
    }
    if (i < c.layers) continue;
    root.ignore(fmt::format("{}.{}.", names.layers, i));
    root.ignore(fmt::format("{}.{}.", names.box_heads, i));
  }
  root.ignore(fmt::format("{}.denoising_class_embed.", names.proposals));
  for (const char* buffer : {"anchors", "valid_mask"}) root.ignore(fmt::format("{}.{}", names.proposals, buffer));
}

// --- forward -------------------------------------------------------------------------------------------------------

// x = norm(x), in place.
void normalize(Ops& ops, const Norm& norm, const Tensor& x) {
  norm.bias ? ops.layer_norm_into(x, norm, x) : ops.rms_norm_into(x, norm, x);
}

void run_layer(Ops& ops, const FdrLayer& layer, const FdrConfig& c, const Tensor& x, const Tensor& position,
               const Tensor& reference, const Tensor& memory, std::span<const GridSize> levels) {
  {
    const auto released = ops.scope();
    const Tensor query_key = ops.linear(ops.add(x, position), layer.query_key);
    const Tensor value = ops.linear(ops.cast(x, ops.dtype()), layer.value);
    const Tensor mixed =
        ops.attention(query_key.columns(0, c.dim), query_key.columns(c.dim, 2 * c.dim), value, c.heads);
    ops.linear_add(mixed, layer.self_out, x);
    normalize(ops, layer.norm1, x);
  }
  {
    const auto released = ops.scope();
    const Tensor offset_logits = ops.linear_f32(ops.add(x, position), layer.offset_logits);
    const Tensor sampled = ops.deformable_attention(memory, levels, reference, offset_logits, c.heads, c.points);
    if (c.has_gateway) {
      const Tensor gates = ops.linear_f32(ops.cast(x, ops.dtype()), layer.gate_residual);
      ops.linear_add(sampled, layer.gate_added, gates);
      ops.gated_sum_into(gates, sampled, x);
    } else {
      ops.add_into(x, sampled, x);
    }
    normalize(ops, layer.norm2, x);
  }
  const auto released = ops.scope();
  const Tensor content = ops.cast(x, ops.dtype());
  // The reference clips to f16's range before the last norm: a guard for f16 that changes nothing in f32 and bf16.
  ops.linear_add(
      c.has_swiglu ? ops.swiglu(ops.linear(content, layer.fc1)) : ops.linear(content, layer.fc1, c.ffn_activation),
      layer.fc2, x);
  normalize(ops, layer.norm3, x);
}

// Whether a cell's centre may lie within the margin of 1 % where anchors are invalid.
bool has_border(const GridSize& level) {
  return std::max(level.height, level.width) >= 50;
}

// The first stage: every cell proposes a box, the best become the queries.
void select_queries(Ops& ops, const FdrDecoder& decoder, const FdrConfig& c, const Tensor& memory, GridSize input,
                    std::span<const GridSize> levels, const Tensor& queries, const Tensor& references) {
  const std::int64_t cells = memory.shape[1];
  const Tensor anchors =
      ops.constant("anchors", input, {cells, 4}, [&](std::span<float> values) { fill_anchor_logits(levels, values); });
  const auto released = ops.scope();
  Tensor objects = memory;
  if (std::ranges::any_of(levels, has_border)) {
    const Tensor mask =
        ops.constant("anchor mask", input, {cells}, [&](std::span<float> values) { fill_anchor_mask(levels, values); });
    objects = ops.empty(memory.shape, memory.dtype);
    ops.copy_into(memory, objects);
    ops.mask_rows(objects, mask);
  }
  if (c.has_memory_norm) objects = ops.layer_norm(ops.linear(objects, decoder.memory_linear), decoder.memory_norm);
  const Tensor index = ops.top_rows(ops.linear_f32(objects, decoder.proposal_class), c.queries);
  // Only the chosen ones need a box.
  const Tensor chosen = ops.gather_rows(objects, index);
  ops.copy_into(chosen, queries);
  const Tensor deltas = run_mlp_f32(ops, decoder.proposal_box, chosen, c.head_activation);
  ops.copy_into(ops.logit_boxes(ops.gather_rows(anchors, index), deltas, true), references);
}

Tensor position_embedding(Ops& ops, const FdrDecoder& decoder, const FdrConfig& c, const Tensor& references) {
  constexpr float kLargest = 10.0f;
  const Tensor position = run_mlp(ops, decoder.position_head, ops.cast(references, ops.dtype()), c.position_activation);
  ops.clamp(position, -kLargest, kLargest);
  return position;
}

}  // namespace

FdrDecoder read_fdr_decoder(const WeightCursor& root, const FdrNames& names, const FdrConfig& c) {
  FdrDecoder decoder;
  const WeightCursor proposals = root.child(names.proposals), heads = root.child(names.heads);
  if (c.has_memory_norm) {
    decoder.memory_linear = proposals.linear(names.memory_linear, c.dim, c.dim);
    decoder.memory_norm = proposals.norm(names.memory_norm, c.dim, c.norm_eps);
  }
  decoder.proposal_class = proposals.linear("enc_score_head", c.dim, c.classes);
  decoder.proposal_box = read_mlp(proposals.child("enc_bbox_head"), c.dim, c.dim, 4, 3);
  for (int i = 0; i < c.layers; ++i) {
    decoder.layers.push_back(read_layer(root.child(fmt::format("{}.{}", names.layers, i)), names, c));
  }
  read_edge_heads(root.child(names.box_heads), c, decoder);
  decoder.position_head = read_mlp(heads.child("query_pos_head"), 4, c.position_hidden, c.dim, c.position_layers);
  decoder.first_box_head = read_mlp(heads.child("pre_bbox_head"), c.dim, c.dim, 4, 3);
  decoder.class_head = root.child(names.class_heads).linear(std::to_string(c.layers - 1), c.dim, c.classes);
  read_quality_head(root.child(fmt::format("{}.{}.reg_conf", names.quality, c.layers - 1)), c, decoder);
  decoder.distance_scale = std::abs(read_scalar(root, names.heads, "decoder.decoder", "reg_scale"));
  const float up = read_scalar(root, names.heads, "decoder.decoder", "up");
  decoder.bin_distances = root.store().table(bin_distances(c.bins, up, decoder.distance_scale), {c.bins});
  ignore_training_weights(root, names, c);
  return decoder;
}

Model::Outputs run_fdr_decoder(Ops& ops, const FdrDecoder& decoder, const FdrConfig& c, const Tensor& memory,
                               GridSize input, std::span<const GridSize> levels) {
  const std::int64_t batch = memory.shape[0], queries = c.queries;
  const Tensor logits = ops.empty({batch, queries, c.classes}, DType::f32);
  const Tensor boxes = ops.empty({batch, queries, 4}, DType::f32);
  const auto released = ops.scope();
  const Tensor x = ops.empty({batch, queries, c.dim}, DType::f32), before = ops.empty(x.shape, DType::f32);
  const Tensor first_boxes = ops.empty(boxes.shape, DType::f32);
  const Tensor edges = ops.empty({batch, queries, 4 * c.bins}, DType::f32);  // logits, summed over the layers
  select_queries(ops, decoder, c, memory, input, levels, x, boxes);
  Tensor fixed_position;
  if (c.has_fixed_position) fixed_position = position_embedding(ops, decoder, c, boxes);

  for (std::size_t i = 0; i < decoder.layers.size(); ++i) {
    const auto layer_released = ops.scope();
    const FdrLayer& layer = decoder.layers[i];
    const Tensor position = c.has_fixed_position ? fixed_position : position_embedding(ops, decoder, c, boxes);
    run_layer(ops, layer, c, x, position, boxes, memory, levels);
    const Tensor content = ops.cast(x, ops.dtype());
    if (i == 0) {
      const Tensor deltas = run_mlp_f32(ops, decoder.first_box_head, content, c.head_activation);
      ops.copy_into(ops.logit_boxes(boxes, deltas), first_boxes);
      ops.copy_into(run_mlp_f32(ops, layer.edge_head, content, c.head_activation), edges);
    } else {
      run_mlp_add(ops, layer.edge_head, ops.add(x, before), edges, c.head_activation);
    }
    ops.copy_into(ops.edge_boxes(edges, decoder.bin_distances, first_boxes, decoder.distance_scale), boxes);
    ops.copy_into(x, before);
  }
  ops.copy_into(ops.linear_f32(ops.cast(x, ops.dtype()), decoder.class_head), logits);
  Tensor quality = ops.edge_peaks(edges, c.bins, c.peaks);
  for (const Linear& layer : decoder.quality_head) quality = ops.linear(quality, layer, c.head_activation);
  ops.linear_add(quality, decoder.quality_out, logits);
  return {logits, boxes};
}

}  // namespace vistazo
