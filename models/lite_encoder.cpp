#include "models/lite_encoder.h"

#include <vector>

namespace vistazo {
namespace {

constexpr ConvolutionEpilogue kSilu{.activation = Activation::silu};

ConvolutionShape pointwise(int in, int out) {
  return {.in_channels = in, .out_channels = out, .kernel_height = 1, .kernel_width = 1};
}

// An average over 3 x 3 at half the size that counts zeros beyond the border: as a depthwise convolution.
ConvUnit average_unit(const WeightCursor& w, int channels) {
  const ConvolutionShape shape{.in_channels = channels,
                               .out_channels = channels,
                               .kernel_height = 3,
                               .kernel_width = 3,
                               .stride = 2,
                               .padding = 1,
                               .groups = channels};
  return {w.store().convolution(std::vector<float>(static_cast<std::size_t>(9 * channels), 1.0f / 9.0f), {}, shape),
          {}};
}

Tensor run_down(Ops& ops, const LiteEncoder& encoder, const ConvUnit& unit, const Tensor& x) {
  return run_conv_unit(ops, unit, run_conv_unit(ops, encoder.average, x));
}

}  // namespace

LiteEncoder read_lite_encoder(const WeightCursor& w, const LiteEncoderNames& names, const ElanConfig& elan, int in) {
  constexpr BatchNormNames kUnit{"conv", "norm"};
  const ConvolutionShape across = pointwise(elan.dim, elan.dim);
  return {.input = read_conv_unit(w.child("input_proj.0"), kUnit, pointwise(in, elan.dim), {}),
          .average = average_unit(w, elan.dim),
          .down1 = read_conv_unit(w.child(names.down1), names.down, across, kSilu),
          .down2 = read_conv_unit(w.child(names.down2), names.down, across, kSilu),
          .global = read_conv_unit(w.child(names.global), kUnit, across, kSilu),
          .top_down = read_elan(w.child("fpn_block"), names.elan, elan),
          .bottom_up = read_elan(w.child("pan_block"), names.elan, elan)};
}

void run_lite_encoder(Ops& ops, const LiteEncoder& encoder, const Tensor& map, std::span<Tensor> maps) {
  const int dim = encoder.top_down.config.dim;
  const ConvolutionShape& halving = encoder.average.conv.shape;
  const int height = static_cast<int>(map.shape[1]), width = static_cast<int>(map.shape[2]);
  maps[0] = ops.empty({map.shape[0], height, width, dim}, ops.dtype());
  maps[1] = ops.empty({map.shape[0], halving.out_height(height), halving.out_width(width), dim}, ops.dtype());
  const auto released = ops.scope();
  const Tensor large = run_conv_unit(ops, encoder.input, map);
  const Tensor halved = run_down(ops, encoder, encoder.down1, large);
  const Tensor tokens = halved.reshaped({halved.shape[0], halved.shape[1] * halved.shape[2], dim});
  const Tensor small = run_conv_unit(ops, encoder.global, ops.add_mean(tokens).reshaped(halved.shape));

  const Tensor enlarged = ops.empty(large.shape, ops.dtype());
  ops.resize_into(small, MapInterpolation::nearest, enlarged);
  run_elan_into(ops, encoder.top_down, ops.add(large, enlarged), maps[0]);
  run_elan_into(ops, encoder.bottom_up, ops.add(small, run_down(ops, encoder, encoder.down2, maps[0])), maps[1]);
}

}  // namespace vistazo
