#include "models/dinov3.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "models/config_values.h"
#include "weights/config_reader.h"

namespace vistazo {
namespace {

constexpr int kMaps = Dinov3Config::kMaps;

// What a dialect calls things. The tensors of q, k and v are one, or three.
struct Names {
  std::string_view trunk;
  std::string_view class_token, registers, patch, blocks;
  std::string_view packed_qkv, query, key, value, attention_out, scale1, scale2;
  std::string_view fc1, fc2;                      // of a plain MLP
  std::string_view gate, gated_value, gated_out;  // of a SwiGLU
  std::string_view stem, adapters[kMaps];
  BatchNormNames stem_unit, adapter_units[kMaps];
  BatchNormNames fusions[kMaps];
};

constexpr BatchNormNames kUnit{"conv", "norm"};

constexpr Names kHuggingFace{
    .trunk = "backbone",
    .class_token = "embeddings.cls_token",
    .registers = "embeddings.register_tokens",
    .patch = "embeddings.patch_embeddings",
    .blocks = "layer",
    .packed_qkv = "",
    .query = "attention.q_proj",
    .key = "attention.k_proj",
    .value = "attention.v_proj",
    .attention_out = "attention.o_proj",
    .scale1 = "layer_scale1.lambda1",
    .scale2 = "layer_scale2.lambda1",
    .fc1 = "mlp.up_proj",
    .fc2 = "mlp.down_proj",
    .gate = "mlp.gate_proj",
    .gated_value = "mlp.up_proj",
    .gated_out = "mlp.down_proj",
    .stem = "spatial_tuning_adapter.stem_conv",
    .adapters = {"spatial_tuning_adapter.conv2", "spatial_tuning_adapter.conv3", "spatial_tuning_adapter.conv4"},
    .stem_unit = kUnit,
    .adapter_units = {kUnit, kUnit, kUnit},
    .fusions = {{"fusion_proj.0.conv", "fusion_proj.0.norm"},
                {"fusion_proj.1.conv", "fusion_proj.1.norm"},
                {"fusion_proj.2.conv", "fusion_proj.2.norm"}}};

constexpr Names kOriginal{.trunk = "dinov3",
                          .class_token = "cls_token",
                          .registers = "storage_tokens",
                          .patch = "patch_embed.proj",
                          .blocks = "blocks",
                          .packed_qkv = "attn.qkv",
                          .query = "",
                          .key = "",
                          .value = "",
                          .attention_out = "attn.proj",
                          .scale1 = "ls1.gamma",
                          .scale2 = "ls2.gamma",
                          .fc1 = "mlp.fc1",
                          .fc2 = "mlp.fc2",
                          .gate = "mlp.w1",
                          .gated_value = "mlp.w2",
                          .gated_out = "mlp.w3",
                          .stem = "sta.stem",
                          .adapters = {"sta.conv2", "sta.conv3", "sta.conv4"},
                          .stem_unit = {"0", "1"},
                          .adapter_units = {{"0", "1"}, {"1", "2"}, {"1", "2"}},
                          .fusions = {{"convs.0", "norms.0"}, {"convs.1", "norms.1"}, {"convs.2", "norms.2"}}};

// --- reading -------------------------------------------------------------------------------------------------------

void append(std::vector<float>& to, const std::vector<float>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// Keys have no bias: the softmax would not see it. DINOv3 stores it and a mask that takes it away.
Linear read_qkv(const WeightCursor& w, const Names& names, const Dinov3Config& c) {
  const int dim = c.vit.dim;
  std::vector<float> weight, bias;
  if (!names.packed_qkv.empty()) {
    const WeightCursor qkv = w.child(names.packed_qkv);
    weight = qkv.floats("weight", {3 * dim, dim});
    bias = qkv.floats("bias", {3 * dim});
    if (!c.has_key_bias) std::fill_n(bias.begin() + dim, dim, 0.0f);
    qkv.ignore("bias_mask");
    return w.store().linear(weight, bias, dim, 3 * dim);
  }
  for (const std::string_view name : {names.query, names.key, names.value}) {
    const WeightCursor part = w.child(name);
    append(weight, part.floats("weight", {dim, dim}));
    const bool has_bias = name != names.key || c.has_key_bias;
    append(bias, has_bias ? part.floats("bias", {dim}) : std::vector<float>(static_cast<std::size_t>(dim)));
  }
  return w.store().linear(weight, bias, dim, 3 * dim);
}

VitBlock read_block(const WeightCursor& w, const Names& names, const Dinov3Config& c) {
  const VitConfig& v = c.vit;
  std::vector<float> scale1, scale2;
  if (c.has_layer_scale) {
    scale1 = w.floats(names.scale1, {v.dim});
    scale2 = w.floats(names.scale2, {v.dim});
  }
  return {.norm1 = w.norm("norm1", v.dim, v.norm_eps),
          .qkv = read_qkv(w, names, c),
          .proj = w.linear(names.attention_out, v.dim, v.dim, scale1),
          .norm2 = w.norm("norm2", v.dim, v.norm_eps),
          .fc1 = v.has_gated_mlp ? w.fused_linear({names.gate, names.gated_value}, v.dim, v.mlp_dim)
                                 : w.linear(names.fc1, v.dim, v.mlp_dim),
          .fc2 = w.linear(v.has_gated_mlp ? names.gated_out : names.fc2, v.mlp_dim, v.dim, scale2)};
}

void read_trunk(const WeightCursor& w, const Names& names, Dinov3& net) {
  const Dinov3Config& c = net.config;
  const int dim = c.vit.dim;
  net.prefix_tokens = w.floats(names.class_token, {1, 1, dim});
  if (c.registers > 0) {
    append(net.prefix_tokens, w.floats(names.registers, {1, c.registers, dim}));
  } else {
    w.ignore(names.registers);  // transformers saves an empty tensor
  }
  const WeightCursor patch = w.child(names.patch);
  net.patch_bias = patch.floats("bias", {dim});
  net.patch_embedding =
      w.store().linear(patch.floats("weight", {dim, 3, c.patch, c.patch}), net.patch_bias, 3 * c.patch * c.patch, dim);
  for (int i = 0; i < c.vit.layers; ++i) {
    net.blocks.push_back(read_block(w.child(fmt::format("{}.{}", names.blocks, i)), names, c));
  }
  if (c.normalizes_last || c.normalizes_all) net.norm = w.norm("norm", dim, c.vit.norm_eps);
  // Only pretraining masks tokens; the periods follow from rope_base.
  for (const char* unused : {"embeddings.mask_token", "mask_token", "rope_embed.periods"}) w.ignore(unused);
}

ConvUnit read_halving(const WeightCursor& w, const BatchNormNames& names, int in, int out, Activation activation) {
  const ConvolutionShape shape{
      .in_channels = in, .out_channels = out, .kernel_height = 3, .kernel_width = 3, .stride = 2, .padding = 1};
  return read_conv_unit(w, names, shape, {.activation = activation});
}

// --- forward -------------------------------------------------------------------------------------------------------

// The table that patch products are added to. A prefix token's patch is all zeros, so the product will add the bias:
// taken off here.
void fill_token_table(const Dinov3& net, std::span<float> table) {
  std::ranges::fill(table, 0.0f);
  for (std::size_t i = 0; i < net.prefix_tokens.size(); ++i) {
    table[i] = net.prefix_tokens[i] - net.patch_bias[i % net.patch_bias.size()];
  }
}

// A head's first quarter of angles turns with the patch's row, its second with the column, both in -1 .. 1; the other
// half repeats them. Section 2 of the paper; base 100 spreads the periods.
void fill_rope_table(const Dinov3Config& c, GridSize grid, std::span<float> table) {
  const int head_dim = c.vit.dim / c.vit.heads, quarter = head_dim / 4;
  const auto centre = [](int i, int count) { return 2 * (static_cast<double>(i) + 0.5) / count - 1; };
  float* to = table.data();
  for (int patch = 0; patch < grid.area(); ++patch, to += head_dim) {
    const double place[2] = {centre(patch / grid.width, grid.height), centre(patch % grid.width, grid.width)};
    for (int i = 0; i < head_dim / 2; ++i) {
      const double period = std::pow(static_cast<double>(c.rope_base), 4.0 * (i % quarter) / head_dim);
      const double angle = 2 * std::numbers::pi * place[i / quarter] / period;
      to[i] = static_cast<float>(std::cos(angle));
      to[head_dim / 2 + i] = static_cast<float>(std::sin(angle));
    }
  }
}

// A third of the network's maps at each of the three sizes: into the first columns of fused[i].
void run_trunk(Ops& ops, const Dinov3& net, const Tensor& pixels, std::span<const Tensor> fused) {
  const Dinov3Config& c = net.config;
  const GridSize size{static_cast<int>(pixels.shape[2]), static_cast<int>(pixels.shape[3])};
  const WindowGrid grid{size.height / c.patch, size.width / c.patch, 1, 1 + c.registers};
  const GridSize patches{grid.height, grid.width};
  const Tensor table = ops.constant("tokens", size, {grid.tokens(), c.vit.dim},
                                    [&](std::span<float> values) { fill_token_table(net, values); });
  const Rope rope{ops.constant("rope", size, {patches.area(), c.vit.dim / c.vit.heads},
                               [&](std::span<float> values) { fill_rope_table(c, patches, values); }),
                  grid.prefix};
  const auto released = ops.scope();
  const Tensor tokens = ops.repeat(table, static_cast<int>(pixels.shape[0]), ops.residual_dtype());
  ops.linear_add(ops.patches(pixels, c.patch, grid), net.patch_embedding, tokens);
  std::size_t map = 0;
  for (int i = 0; i < c.vit.layers && map < fused.size(); ++i) {
    run_vit_block(ops, net.blocks[static_cast<std::size_t>(i)], c.vit, tokens, &rope);
    if (c.outputs[map] != i) continue;
    const auto inner = ops.scope();
    const bool is_last = i + 1 == c.vit.layers;
    const bool is_normalized = is_last ? c.normalizes_last : c.normalizes_all;
    const Tensor map_of_tokens = ops.empty({pixels.shape[0], grid.height, grid.width, c.vit.dim}, ops.dtype());
    if (is_normalized) {
      ops.layer_norm_to_grid(tokens, net.norm, grid, map_of_tokens);
    } else {
      ops.windows_to_grid(ops.cast(tokens, ops.dtype()), grid, map_of_tokens);
    }
    ops.resize_into(map_of_tokens, MapInterpolation::bilinear, fused[map].columns(0, c.vit.dim));
    ++map;
  }
}

// The convolutions' maps: into the last columns of fused[i].
void run_adapter(Ops& ops, const Dinov3& net, const Tensor& pixels, std::span<const Tensor> fused) {
  const auto released = ops.scope();
  const Tensor stem = run_conv_unit_on_pixels(ops, net.stem, pixels);
  Tensor x = ops.pooling(stem, Pooling::max, {.height = 3, .width = 3, .stride = 2, .padding = 1});
  for (std::size_t i = 0; i < fused.size(); ++i) {
    const Tensor y = run_conv_unit(ops, net.adapters[i], x);
    ops.copy_into(y, fused[i].columns(net.config.vit.dim, fused[i].cols()));
    if (i + 1 < fused.size()) x = ops.activate(y, Activation::gelu);
  }
}

}  // namespace

Dinov3Config read_dinov3_config(const ConfigReader& config) {
  Dinov3Config c;
  const int patch = config.integer("patch_size", 1, 64, 16);
  if (patch != 16) config.refuse("patch_size", "16, as the maps' strides are 8, 16 and 32");
  config.integer("num_channels", 3, 3, 3);
  c.vit.dim = config.integer("hidden_size", 8, 4096, 384);
  c.vit.mlp_dim = config.integer("intermediate_size", 1, 65536, 1536);
  c.vit.layers = config.integer("num_hidden_layers", 1, 64, 12);
  c.vit.heads = config.integer("num_attention_heads", 1, 64, 6);
  c.vit.norm_eps = static_cast<float>(config.number("layer_norm_eps", 0.0, 1.0, 1e-5));
  c.vit.has_gated_mlp = config.boolean("use_gated_mlp", false);
  config.one_of("hidden_act", {c.vit.has_gated_mlp ? "silu" : "gelu"}, "gelu");
  if (c.vit.dim % (4 * c.vit.heads) != 0) config.refuse("num_attention_heads", "heads of a multiple of 4 channels");
  c.registers = config.integer("num_register_tokens", 0, 1024, 0);
  c.rope_base = static_cast<float>(config.number("rope_theta", 1.0, 1e9, 100.0));
  c.has_key_bias = config.boolean("key_bias", false);
  for (const char* key : {"query_bias", "value_bias", "proj_bias", "mlp_bias", "reshape_hidden_states"}) {
    if (!config.boolean(key, true)) config.refuse(key, "true");
  }
  c.normalizes_all = config.boolean("apply_layernorm", true);
  // The authors' small trunks have neither; transformers cannot say so.
  c.has_layer_scale = config.boolean("has_layer_scale", true);
  c.normalizes_last = config.boolean("has_final_norm", true);
  for (const int stage : read_stages(config, c.vit.layers)) c.outputs.push_back(stage - 1);
  if (c.outputs.size() != kMaps || c.outputs[0] < 0) config.refuse("out_indices", "three layers, from 1 on");
  return c;
}

Dinov3 read_dinov3(const WeightCursor& w, Dinov3Dialect dialect, const Dinov3Config& c, int adapter, int out) {
  const Names& names = dialect == Dinov3Dialect::huggingface ? kHuggingFace : kOriginal;
  Dinov3 net;
  net.config = c;
  const WeightCursor trunk = w.child(names.trunk);
  read_trunk(dialect == Dinov3Dialect::original_tiny ? trunk.child("_model") : trunk, names, net);
  net.stem = read_halving(w.child(names.stem), names.stem_unit, 3, adapter, Activation::gelu);
  const int channels[kMaps + 1] = {adapter, 2 * adapter, 4 * adapter, 4 * adapter};
  for (int i = 0; i < kMaps; ++i) {
    net.adapters[i] = read_halving(w.child(names.adapters[i]), names.adapter_units[i], channels[i], channels[i + 1],
                                   Activation::none);
    const ConvolutionShape fusion{
        .in_channels = c.vit.dim + channels[i + 1], .out_channels = out, .kernel_height = 1, .kernel_width = 1};
    net.fusions[i] = read_conv_unit(w, names.fusions[i], fusion, {});
  }
  return net;
}

void run_dinov3(Ops& ops, const Dinov3& net, const Tensor& pixels, std::span<Tensor> maps) {
  const std::int64_t batch = pixels.shape[0];
  std::array<Tensor, kMaps> fused;
  for (std::size_t i = 0; i < kMaps; ++i) {
    const std::int64_t stride = std::int64_t{8} << i;
    maps[i] =
        ops.empty({batch, pixels.shape[2] / stride, pixels.shape[3] / stride, net.fusions[i].conv.shape.out_channels},
                  ops.dtype());
  }
  const auto released = ops.scope();
  for (std::size_t i = 0; i < kMaps; ++i) {
    const Shape& size = maps[i].shape;
    fused[i] = ops.empty({batch, size[1], size[2], net.fusions[i].conv.shape.in_channels}, ops.dtype());
  }
  run_trunk(ops, net, pixels, fused);
  run_adapter(ops, net, pixels, fused);
  for (std::size_t i = 0; i < kMaps; ++i) run_conv_unit_into(ops, net.fusions[i], fused[i], maps[i]);
}

}  // namespace vistazo
