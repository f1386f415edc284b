#include "models/hybrid_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "kernels/deformable_attention.h"
#include "models/attention_weights.h"

namespace vistazo {
namespace {

constexpr BatchNormNames kConvNorm{"conv", "norm"};

ConvolutionShape square_kernel(int in, int out, int kernel, int stride = 1) {
  return {.in_channels = in,
          .out_channels = out,
          .kernel_height = kernel,
          .kernel_width = kernel,
          .stride = stride,
          .padding = kernel / 2};
}

FusionBlock read_fusion_block(const WeightCursor& w, const HybridEncoderConfig& c) {
  const ConvolutionEpilogue activated{.activation = c.activation};
  const auto pointwise = [&](const char* name, int in, int out) {
    return read_conv_unit(w.child(name), kConvNorm, square_kernel(in, out, 1), activated, c.batch_norm_eps);
  };
  FusionBlock block;
  block.conv1 = pointwise("conv1", 2 * c.dim, c.hidden);
  block.conv2 = pointwise("conv2", 2 * c.dim, c.hidden);
  for (int i = 0; i < c.blocks; ++i) {
    const WeightCursor b = w.child(fmt::format("bottlenecks.{}", i));
    FoldedConvolution sum =
        read_folded(b.child("conv1"), kConvNorm, square_kernel(c.hidden, c.hidden, 3), c.batch_norm_eps);
    add_pointwise(sum,
                  read_folded(b.child("conv2"), kConvNorm, square_kernel(c.hidden, c.hidden, 1), c.batch_norm_eps));
    block.bottlenecks.push_back(store_conv_unit(w, sum, activated));
  }
  block.has_conv3 = c.hidden != c.dim;
  if (block.has_conv3) block.conv3 = pointwise("conv3", c.hidden, c.dim);
  return block;
}

// x (B, H, W, 2 * dim) -> y (B, H, W, dim).
void run_fusion_block(Ops& ops, const FusionBlock& block, const Tensor& x, const Tensor& y) {
  const auto released = ops.scope();
  Tensor deep = run_conv_unit(ops, block.conv1, x);
  for (const ConvUnit& bottleneck : block.bottlenecks) deep = run_conv_unit(ops, bottleneck, deep);
  const Tensor shallow = run_conv_unit(ops, block.conv2, x);
  if (!block.has_conv3) return ops.add_into(deep, shallow, y);
  run_conv_unit_into(ops, block.conv3, ops.add(deep, shallow), y);
}

// sin and cos of the row, then of the column, over geometric frequencies: a quarter of the columns each.
void fill_positions(GridSize grid, int dim, float temperature, std::span<float> table) {
  const int quarter = dim / 4;
  for (int row = 0; row < grid.area(); ++row) {
    float* to = table.data() + static_cast<std::ptrdiff_t>(row) * dim;
    for (int i = 0; i < quarter; ++i) {
      const double frequency = std::pow(static_cast<double>(temperature), -static_cast<double>(i) / quarter);
      const double y = row / grid.width * frequency, x = row % grid.width * frequency;
      to[i] = static_cast<float>(std::sin(y));
      to[quarter + i] = static_cast<float>(std::cos(y));
      to[2 * quarter + i] = static_cast<float>(std::sin(x));
      to[3 * quarter + i] = static_cast<float>(std::cos(x));
    }
  }
}

// x (B, N, dim) f32, in place; positions (N, dim) f32.
void run_encoder_layer(Ops& ops, const EncoderLayer& layer, int heads, const Tensor& positions, const Tensor& x) {
  const int dim = x.cols();
  {
    const auto released = ops.scope();
    const Tensor query_key = ops.linear(ops.add(x, positions), layer.query_key);
    const Tensor value = ops.linear(ops.cast(x, ops.dtype()), layer.value);
    ops.linear_add(ops.attention(query_key.columns(0, dim), query_key.columns(dim, 2 * dim), value, heads), layer.out,
                   x);
    ops.layer_norm_into(x, layer.norm1, x);
  }
  const auto released = ops.scope();
  ops.linear_add(ops.linear(ops.cast(x, ops.dtype()), layer.fc1, layer.activation), layer.fc2, x);
  ops.layer_norm_into(x, layer.norm2, x);
}

}  // namespace

EncoderLayer read_encoder_layer(const WeightCursor& w, const EncoderLayerNames& names, int dim, int ffn_dim,
                                float norm_eps, Activation activation) {
  const SelfAttentionInputs inputs = read_self_attention_inputs(w.child("self_attn"), dim);
  return {.query_key = inputs.query_key,
          .value = inputs.value,
          .out = w.child("self_attn").linear(names.out, dim, dim),
          .fc1 = w.linear(names.fc1, dim, ffn_dim),
          .fc2 = w.linear(names.fc2, ffn_dim, dim),
          .norm1 = w.norm(names.norm1, dim, norm_eps),
          .norm2 = w.norm(names.norm2, dim, norm_eps),
          .activation = activation};
}

Tensor run_encoder_layers(Ops& ops, std::span<const EncoderLayer> layers, int heads, float temperature,
                          const Tensor& map) {
  const GridSize grid{static_cast<int>(map.shape[1]), static_cast<int>(map.shape[2])};
  const int dim = map.cols();
  const Tensor result = ops.empty(map.shape, ops.dtype());
  const auto released = ops.scope();
  const Tensor positions = ops.constant("encoder positions", grid, {grid.area(), dim},
                                        [&](std::span<float> table) { fill_positions(grid, dim, temperature, table); });
  const Tensor x = ops.empty({map.shape[0], grid.area(), dim}, DType::f32);
  ops.copy_into(map, x);
  for (const EncoderLayer& layer : layers) run_encoder_layer(ops, layer, heads, positions, x);
  ops.copy_into(x, result);
  return result;
}

HybridEncoder read_hybrid_encoder(const WeightCursor& encoder, const WeightCursor& projections,
                                  const EncoderLayerNames& names, const HybridEncoderConfig& config) {
  const HybridEncoderConfig& c = config;
  const ConvolutionEpilogue activated{.activation = c.activation};
  HybridEncoder result;
  result.config = config;
  for (std::size_t i = 0; i < c.in.size(); ++i) {
    const WeightCursor p = projections.child(std::to_string(i));
    const BatchNormNames dialect = p.has("0.weight") ? BatchNormNames{"0", "1"} : kConvNorm;
    result.projections.push_back(read_conv_unit(p, dialect, square_kernel(c.in[i], c.dim, 1), {}));
  }
  for (std::size_t i = 0; i < c.attended.size(); ++i) {
    std::vector<EncoderLayer>& layers = result.layers.emplace_back();
    for (int j = 0; j < c.layers; ++j) {
      layers.push_back(read_encoder_layer(encoder.child(fmt::format("encoder.{}.layers.{}", i, j)), names, c.dim,
                                          c.ffn_dim, c.norm_eps, c.ffn_activation));
    }
  }
  for (std::size_t i = 0; i + 1 < c.in.size(); ++i) {
    const auto at = [&](const char* list) { return encoder.child(fmt::format("{}.{}", list, i)); };
    const ConvolutionShape lateral = square_kernel(c.dim, c.dim, 1), downsample = square_kernel(c.dim, c.dim, 3, 2);
    result.laterals.push_back(read_conv_unit(at("lateral_convs"), kConvNorm, lateral, activated, c.batch_norm_eps));
    result.downsamples.push_back(
        read_conv_unit(at("downsample_convs"), kConvNorm, downsample, activated, c.batch_norm_eps));
    result.top_down.push_back(read_fusion_block(at("fpn_blocks"), c));
    result.bottom_up.push_back(read_fusion_block(at("pan_blocks"), c));
  }
  return result;
}

void run_hybrid_encoder(Ops& ops, const HybridEncoder& encoder, std::span<const Tensor> features,
                        std::span<Tensor> maps) {
  constexpr std::size_t kMaxMaps = DeformableAttentionArgs::kMaxLevels;
  const HybridEncoderConfig& c = encoder.config;
  const std::size_t count = features.size(), top = count - 1;
  const auto map_of = [&](std::size_t level, int channels) {
    const Shape& shape = features[level].shape;
    return ops.empty({shape[0], shape[1], shape[2], channels}, ops.dtype());
  };
  for (std::size_t l = 0; l < count; ++l) maps[l] = map_of(l, c.dim);
  const auto released = ops.scope();

  // What a fusion block takes lies side by side: two maps written next to each other need no concatenation.
  std::array<Tensor, kMaxMaps> descending, ascending;
  for (std::size_t l = 0; l < top; ++l) descending[l] = map_of(l, 2 * c.dim);
  for (std::size_t l = 1; l < count; ++l) ascending[l] = map_of(l, 2 * c.dim);
  const auto left = [&](const Tensor& pair) { return pair.columns(0, c.dim); };
  const auto right = [&](const Tensor& pair) { return pair.columns(c.dim, 2 * c.dim); };

  const Tensor coarsest = map_of(top, c.dim);
  for (std::size_t l = 0; l < count; ++l) {
    const auto inner = ops.scope();
    const Tensor projected = l < top ? right(descending[l]) : coarsest;
    const auto attended = std::ranges::find(c.attended, static_cast<int>(l));
    if (attended == c.attended.end()) {
      run_conv_unit_into(ops, encoder.projections[l], features[l], projected);
      continue;
    }
    const auto& layers = encoder.layers[static_cast<std::size_t>(attended - c.attended.begin())];
    const Tensor map = run_conv_unit(ops, encoder.projections[l], features[l]);
    ops.copy_into(run_encoder_layers(ops, layers, c.heads, c.temperature, map), projected);
  }

  Tensor x = coarsest;
  for (std::size_t step = 0; step < top; ++step) {
    const std::size_t l = top - 1 - step;
    run_conv_unit_into(ops, encoder.laterals[step], x, right(ascending[l + 1]));
    ops.resize_into(right(ascending[l + 1]), MapInterpolation::nearest, left(descending[l]));
    x = l == 0 ? maps[0] : map_of(l, c.dim);
    run_fusion_block(ops, encoder.top_down[step], descending[l], x);
  }
  for (std::size_t l = 0; l < top; ++l) {
    run_conv_unit_into(ops, encoder.downsamples[l], maps[l], left(ascending[l + 1]));
    run_fusion_block(ops, encoder.bottom_up[l], ascending[l + 1], maps[l + 1]);
  }
}

}  // namespace vistazo
