#include "models/conv_blocks.h"

#include <fmt/format.h>

#include <cmath>

namespace vistazo {

ConvNorm read_conv_norm(const WeightCursor& w, const ConvBlockNames& names, const ConvolutionShape& shape, float eps,
                        Activation activation) {
  return {.conv = w.convolution("conv", shape),
          .norm = w.norm(names.norm, shape.out_channels, eps),
          .activation = activation};
}

void run_conv_norm(Ops& ops, const ConvNorm& block, const Tensor& x, const Tensor& y) {
  const auto released = ops.scope();
  ops.layer_norm_into(ops.convolution(x, block.conv), block.norm, y, block.activation);
}

FoldedConvolution read_folded(const WeightCursor& w, const BatchNormNames& names, const ConvolutionShape& shape,
                              float eps) {
  const int out = shape.out_channels;
  const WeightCursor norm = w.child(names.norm);
  const std::vector<float> scale = norm.floats("weight", {out}), shift = norm.floats("bias", {out});
  const std::vector<float> mean = norm.floats("running_mean", {out}), variance = norm.floats("running_var", {out});
  norm.ignore("num_batches_tracked");
  FoldedConvolution folded{
      shape,
      w.child(names.conv)
          .floats("weight", {out, shape.in_channels / shape.groups, shape.kernel_height, shape.kernel_width}),
      std::vector<float>(static_cast<std::size_t>(out))};
  const std::size_t size = folded.weight.size() / folded.bias.size();  // of one output channel's kernel
  for (std::size_t o = 0; o < folded.bias.size(); ++o) {
    const double factor = scale[o] / std::sqrt(static_cast<double>(variance[o]) + static_cast<double>(eps));
    for (std::size_t i = o * size; i < (o + 1) * size; ++i) {
      folded.weight[i] = static_cast<float>(static_cast<double>(folded.weight[i]) * factor);
    }
    folded.bias[o] = static_cast<float>(shift[o] - static_cast<double>(mean[o]) * factor);
  }
  return folded;
}

void add_pointwise(FoldedConvolution& to, const FoldedConvolution& pointwise) {
  const ConvolutionShape& s = to.shape;
  const auto size = static_cast<std::size_t>(s.kernel_height * s.kernel_width);
  for (std::size_t i = 0; i < pointwise.weight.size(); ++i) to.weight[i * size + size / 2] += pointwise.weight[i];
  for (std::size_t o = 0; o < to.bias.size(); ++o) to.bias[o] += pointwise.bias[o];
}

ConvUnit store_conv_unit(const WeightCursor& w, const FoldedConvolution& folded, const ConvolutionEpilogue& epilogue) {
  return {w.store().convolution(folded.weight, folded.bias, folded.shape), epilogue};
}

ConvUnit read_conv_unit(const WeightCursor& w, const BatchNormNames& names, const ConvolutionShape& shape,
                        const ConvolutionEpilogue& epilogue, float eps) {
  return store_conv_unit(w, read_folded(w, names, shape, eps), epilogue);
}

Tensor run_conv_unit(Ops& ops, const ConvUnit& unit, const Tensor& x) {
  return ops.convolution(x, unit.conv, unit.epilogue);
}

Tensor run_conv_unit_on_pixels(Ops& ops, const ConvUnit& unit, const Tensor& pixels) {
  return ops.convolution_of_pixels(pixels, unit.conv, unit.epilogue);
}

void run_conv_unit_into(Ops& ops, const ConvUnit& unit, const Tensor& x, const Tensor& y) {
  ops.convolution_into(x, unit.conv, y, unit.epilogue);
}

C2f read_c2f(const WeightCursor& w, const ConvBlockNames& names, const C2fConfig& c) {
  const WeightCursor first = w.child(names.conv1), last = w.child(names.conv2);
  C2f block{.conv1 = first.pointwise("conv", c.in, 2 * c.hidden),
            .conv2 = last.pointwise("conv", (2 + c.blocks) * c.hidden, c.out),
            .norm1 = first.norm(names.norm, 2 * c.hidden, c.norm_eps),
            .norm2 = last.norm(names.norm, c.out, c.norm_eps),
            .blocks = {},
            .hidden = c.hidden,
            .activation = c.activation};
  const ConvolutionShape shape{c.hidden, c.hidden, 3, 3, 1, 1};
  for (int i = 0; i < c.blocks; ++i) {
    const WeightCursor b = w.child(fmt::format("{}.{}", names.blocks, i));
    block.blocks.push_back({read_conv_norm(b.child(names.conv1), names, shape, c.norm_eps, c.activation),
                            read_conv_norm(b.child(names.conv2), names, shape, c.norm_eps, c.activation)});
  }
  return block;
}

Tensor run_c2f(Ops& ops, const C2f& block, const Tensor& x) {
  const std::int64_t batch = x.shape[0], height = x.shape[1], width = x.shape[2];
  const int hidden = block.hidden, parts = 2 + static_cast<int>(block.blocks.size());
  Tensor out = ops.empty({batch, height, width, block.conv2.out}, ops.dtype());
  const auto released = ops.scope();
  const Tensor all = ops.empty({batch, height, width, parts * hidden}, ops.dtype());
  {
    const auto inner = ops.scope();
    ops.layer_norm_into(ops.linear(x, block.conv1), block.norm1, all.columns(0, 2 * hidden), block.activation);
  }
  for (int i = 0; i + 2 < parts; ++i) {
    const auto inner = ops.scope();
    const C2f::Bottleneck& b = block.blocks[static_cast<std::size_t>(i)];
    const Tensor input = all.columns((1 + i) * hidden, (2 + i) * hidden);
    const Tensor middle = ops.empty(input.shape, ops.dtype());
    run_conv_norm(ops, b.first, input, middle);
    run_conv_norm(ops, b.second, middle, all.columns((2 + i) * hidden, (3 + i) * hidden));
  }
  ops.layer_norm_into(ops.linear(all, block.conv2), block.norm2, out, block.activation);
  return out;
}

}  // namespace vistazo
