#include "models/elan.h"

#include <fmt/format.h>

namespace vistazo {
namespace {

constexpr BatchNormNames kUnit{"conv", "norm"};
constexpr ConvolutionEpilogue kSilu{.activation = Activation::silu};

ConvolutionShape pointwise(int in, int out) {
  return {.in_channels = in, .out_channels = out, .kernel_height = 1, .kernel_width = 1};
}

ConvolutionShape three_by_three(int channels) {
  return {.in_channels = channels, .out_channels = channels, .kernel_height = 3, .kernel_width = 3, .padding = 1};
}

// First the outputs that are added at the end, then those that go through the blocks.
ConvUnit read_split(const WeightCursor& w, const ElanConfig& c, int in) {
  if (c.has_fused_split) return read_conv_unit(w.child("conv1"), kUnit, pointwise(in, 2 * c.hidden), kSilu);
  FoldedConvolution both = read_folded(w.child("conv2"), kUnit, pointwise(in, c.hidden));
  const FoldedConvolution through = read_folded(w.child("conv1"), kUnit, pointwise(in, c.hidden));
  both.shape.out_channels = 2 * c.hidden;
  both.weight.insert(both.weight.end(), through.weight.begin(), through.weight.end());
  both.bias.insert(both.bias.end(), through.bias.begin(), through.bias.end());
  return store_conv_unit(w, both, kSilu);
}

Elan::Branch read_branch(const WeightCursor& w, const ElanNames& names, int index, const ElanConfig& c, int in) {
  Elan::Branch branch;
  const WeightCursor base = w.child(names.branches[index]);
  branch.split = read_split(base, c, in);
  for (int i = 0; i < c.blocks; ++i) {
    const WeightCursor block = base.child(fmt::format("bottlenecks.{}", i));
    FoldedConvolution folded = read_folded(block.child("conv1"), kUnit, three_by_three(c.hidden));
    add_pointwise(folded, read_folded(block.child("conv2"), kUnit, pointwise(c.hidden, c.hidden)));
    branch.blocks.push_back(store_conv_unit(w, folded, kSilu));
  }
  if (c.has_trailing) {
    branch.trailing = read_conv_unit(w.child(names.trailing[index]), kUnit, three_by_three(c.hidden), kSilu);
  }
  return branch;
}

void run_branch(Ops& ops, const Elan::Branch& branch, int hidden, const Tensor& x, const Tensor& y) {
  const auto released = ops.scope();
  const Tensor split = run_conv_unit(ops, branch.split, x);
  Tensor through = split.columns(hidden, 2 * hidden);
  for (const ConvUnit& block : branch.blocks) through = run_conv_unit(ops, block, through);
  if (branch.blocks.empty()) through = ops.cast(through, ops.dtype());
  const Tensor kept = split.columns(0, hidden);
  if (!branch.trailing.conv.weights) return ops.add_into(kept, through, y);
  run_conv_unit_into(ops, branch.trailing, ops.add(kept, through), y);
}

// small and large next to each other, or their sum, at large's size.
Tensor fuse(Ops& ops, const Tensor& small, const Tensor& large, int channels) {
  const int dim = large.cols();
  const Tensor fused = ops.empty({large.shape[0], large.shape[1], large.shape[2], channels}, ops.dtype());
  const bool is_resized = small.shape[1] != large.shape[1] || small.shape[2] != large.shape[2];
  const Tensor first = fused.columns(0, dim);
  if (channels == dim) {
    if (!is_resized) return ops.add(small, large);
    ops.resize_into(small, MapInterpolation::nearest, first);
    ops.add_into(first, large, first);
    return fused;
  }
  is_resized ? ops.resize_into(small, MapInterpolation::nearest, first) : ops.copy_into(small, first);
  ops.copy_into(large, fused.columns(dim, 2 * dim));
  return fused;
}

}  // namespace

Elan read_elan(const WeightCursor& w, const ElanNames& names, const ElanConfig& c) {
  return {.first = read_conv_unit(w.child(names.first), kUnit, pointwise(c.in, 2 * c.dim), kSilu),
          .last = read_conv_unit(w.child(names.last), kUnit, pointwise(2 * c.dim + 2 * c.hidden, c.dim), kSilu),
          .branches = {read_branch(w, names, 0, c, c.dim), read_branch(w, names, 1, c, c.hidden)},
          .config = c};
}

void run_elan_into(Ops& ops, const Elan& elan, const Tensor& x, const Tensor& y) {
  const int dim = elan.config.dim, hidden = elan.config.hidden;
  const auto released = ops.scope();
  const Tensor all = ops.empty({x.shape[0], x.shape[1], x.shape[2], 2 * dim + 2 * hidden}, ops.dtype());
  run_conv_unit_into(ops, elan.first, x, all.columns(0, 2 * dim));
  int begin = dim, end = 2 * dim;  // columns of the branch's input
  for (const Elan::Branch& branch : elan.branches) {
    run_branch(ops, branch, hidden, all.columns(begin, end), all.columns(end, end + hidden));
    begin = end;
    end += hidden;
  }
  run_conv_unit_into(ops, elan.last, all, y);
}

ElanPyramid read_elan_pyramid(const WeightCursor& w, const ElanPyramidNames& names, const ElanConfig& elan, int maps) {
  ElanPyramid pyramid;
  const ConvolutionShape across = pointwise(elan.dim, elan.dim);
  ConvolutionShape halving = three_by_three(elan.dim);
  halving.stride = 2;
  halving.groups = elan.dim;
  for (int i = 0; i + 1 < maps; ++i) {
    pyramid.laterals.push_back(read_conv_unit(w.child(fmt::format("lateral_convs.{}", i)), kUnit, across, {}));
    pyramid.top_down.push_back(read_elan(w.child(fmt::format("fpn_blocks.{}", i)), names.elan, elan));
    const std::string down = fmt::format("downsample_convs.{}.{}", i, names.down);
    pyramid.downs.push_back(
        {.pointwise = read_conv_unit(w.child(down + std::string(names.pointwise)), kUnit, across, {}),
         .depthwise = read_conv_unit(w.child(down + std::string(names.depthwise)), kUnit, halving, {})});
    pyramid.bottom_up.push_back(read_elan(w.child(fmt::format("pan_blocks.{}", i)), names.elan, elan));
  }
  return pyramid;
}

void run_elan_pyramid(Ops& ops, const ElanPyramid& pyramid, std::span<Tensor> maps) {
  const std::size_t steps = maps.size() - 1;
  for (std::size_t i = 0; i < steps; ++i) {
    Tensor &small = maps[steps - i], &large = maps[steps - i - 1];
    const Elan& elan = pyramid.top_down[i];
    small = run_conv_unit(ops, pyramid.laterals[i], small);
    const Tensor mixed = ops.empty(large.shape, ops.dtype());
    const auto released = ops.scope();
    run_elan_into(ops, elan, fuse(ops, small, large, elan.config.in), mixed);
    large = mixed;
  }
  for (std::size_t i = 0; i < steps; ++i) {
    const Elan& elan = pyramid.bottom_up[i];
    const ElanPyramid::Down& down = pyramid.downs[i];
    const Tensor mixed = ops.empty(maps[i + 1].shape, ops.dtype());
    const auto released = ops.scope();
    const Tensor halved = run_conv_unit(ops, down.depthwise, run_conv_unit(ops, down.pointwise, maps[i]));
    run_elan_into(ops, elan, fuse(ops, halved, maps[i + 1], elan.config.in), mixed);
    maps[i + 1] = mixed;
  }
}

Tensor join_levels(Ops& ops, std::span<const Tensor> maps) {
  const std::int64_t batch = maps[0].shape[0], dim = maps[0].shape.last();
  std::int64_t rows = 0;
  for (const Tensor& map : maps) rows += map.shape[1] * map.shape[2];
  const Tensor all = ops.empty({batch, rows, dim}, ops.dtype());
  const auto row_of = [&](const Tensor& t, std::int64_t row, std::int64_t count) {
    auto* bytes = static_cast<std::byte*>(t.data) + static_cast<std::size_t>(row * dim) * size_of(t.dtype);
    return Tensor{bytes, {count, dim}, t.dtype, dim};
  };
  std::int64_t begin = 0;
  for (const Tensor& map : maps) {
    const std::int64_t area = map.shape[1] * map.shape[2];
    for (std::int64_t b = 0; b < batch; ++b) {
      ops.copy_into(row_of(map, b * area, area), row_of(all, b * rows + begin, area));
    }
    begin += area;
  }
  return all;
}

}  // namespace vistazo
