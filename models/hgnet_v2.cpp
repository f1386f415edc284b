#include "models/hgnet_v2.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "models/config_values.h"
#include "weights/config_reader.h"

namespace vistazo {
namespace {

using Names = HgnetV2Names;

ConvolutionShape square_kernel(int in, int out, int kernel, int stride = 1, int groups = 1) {
  // As the reference: a kernel of 2 has no padding, and what is in front of it appends a row and a column of zeros.
  return {.in_channels = in,
          .out_channels = out,
          .kernel_height = kernel,
          .kernel_width = kernel,
          .stride = stride,
          .padding = (kernel - 1) / 2,
          .groups = groups,
          .end_padding = kernel == 2 ? 1 : 0};
}

// With the activation, and then the affine map, if the network has one.
ConvUnit read_unit(const WeightCursor& w, const Names& names, const HgnetV2Config& c, const ConvolutionShape& shape) {
  ConvolutionEpilogue epilogue{.activation = Activation::relu};
  if (c.has_affine) {
    epilogue.post_scale = w.floats("lab.scale", {1})[0];
    epilogue.post_bias = w.floats("lab.bias", {1})[0];
  }
  return read_conv_unit(w, names.conv, shape, epilogue);
}

HgnetV2::Block read_block(const WeightCursor& w, const Names& names, const HgnetV2Config& c,
                          const HgnetV2Config::Stage& s, int in) {
  HgnetV2::Block block;
  for (int i = 0; i < s.layers; ++i) {
    const WeightCursor l = w.child(fmt::format("layers.{}", i));
    const int layer_in = i == 0 ? in : s.middle;
    if (s.is_light) {
      block.layers.push_back(
          {read_conv_unit(l.child("conv1"), names.conv, square_kernel(layer_in, s.middle, 1), {}),
           read_unit(l.child("conv2"), names, c, square_kernel(s.middle, s.middle, s.kernel, 1, s.middle))});
    } else {
      block.layers.push_back({{}, read_unit(l, names, c, square_kernel(layer_in, s.middle, s.kernel))});
    }
  }
  const int gathered = in + s.layers * s.middle;
  block.squeeze = read_unit(w.child("aggregation.0"), names, c, square_kernel(gathered, s.out / 2, 1));
  block.excite = read_unit(w.child("aggregation.1"), names, c, square_kernel(s.out / 2, s.out, 1));
  return block;
}

HgnetV2::Stage read_stage(const WeightCursor& w, const Names& names, const HgnetV2Config& c,
                          const HgnetV2Config::Stage& s, bool has_downsample) {
  HgnetV2::Stage stage;
  if (has_downsample) {
    stage.downsample =
        read_conv_unit(w.child("downsample"), names.conv, square_kernel(s.in, s.in, 3, s.stride, s.in), {});
  }
  for (int i = 0; i < s.blocks; ++i) {
    stage.blocks.push_back(read_block(w.child(fmt::format("blocks.{}", i)), names, c, s, i == 0 ? s.in : s.out));
  }
  return stage;
}

// y: (B, H, W, stem_out), a slice of channels perhaps.
void run_stem(Ops& ops, const HgnetV2& net, const Tensor& pixels, const Tensor& y) {
  const auto released = ops.scope();
  const Tensor first = run_conv_unit_on_pixels(ops, net.stem1, pixels);
  const int channels = first.cols();
  const Tensor both = ops.empty({first.shape[0], first.shape[1], first.shape[2], 2 * channels}, ops.dtype());
  {
    const auto inner = ops.scope();
    ops.pooling_into(first, Pooling::max, {.height = 2, .width = 2, .stride = 1, .end_zeros = 1},
                     both.columns(0, channels));
    run_conv_unit_into(ops, net.stem2b, run_conv_unit(ops, net.stem2a, first), both.columns(channels, 2 * channels));
  }
  run_conv_unit_into(ops, net.stem4, run_conv_unit(ops, net.stem3, both), y);
}

// gathered: (B, H, W, in + layers * middle), of which the first `in` columns are the block's input; the rest is written
// here. y: (B, H, W, out), a slice of channels perhaps.
void run_block(Ops& ops, const HgnetV2::Block& block, int in, bool is_residual, const Tensor& gathered,
               const Tensor& y) {
  const auto released = ops.scope();
  int begin = 0, end = in;  // columns of the layer's input
  for (const HgnetV2::Layer& layer : block.layers) {
    const auto inner = ops.scope();
    const int middle = layer.second.conv.shape.out_channels;
    const Tensor x = gathered.columns(begin, end);
    run_conv_unit_into(ops, layer.second, layer.first.conv.weights ? run_conv_unit(ops, layer.first, x) : x,
                       gathered.columns(end, end + middle));
    begin = end;
    end += middle;
  }
  const Tensor squeezed = run_conv_unit(ops, block.squeeze, gathered);
  if (!is_residual) return run_conv_unit_into(ops, block.excite, squeezed, y);
  ops.add_into(gathered.columns(0, in), run_conv_unit(ops, block.excite, squeezed), y);
}

// The input of a stage's first block is in the first columns of `gathered`; y (B, H, W, out), dense. A block writes its
// result where the next one gathers.
void run_blocks(Ops& ops, const HgnetV2::Stage& stage, const HgnetV2Config::Stage& c, const Tensor& gathered,
                const Tensor& y) {
  const Shape later{y.shape[0], y.shape[1], y.shape[2], c.out + c.layers * c.middle};
  Tensor turns[2];
  if (c.blocks > 1) turns[0] = ops.empty(later, ops.dtype());
  if (c.blocks > 2) turns[1] = ops.empty(later, ops.dtype());
  Tensor current = gathered;
  for (int i = 0; i < c.blocks; ++i) {
    const bool is_last = i + 1 == c.blocks;
    const Tensor next = is_last ? y : turns[i % 2];
    run_block(ops, stage.blocks[static_cast<std::size_t>(i)], i == 0 ? c.in : c.out, i > 0, current,
              is_last ? y : next.columns(0, c.out));
    current = next;
  }
}

GridSize stem_size(const HgnetV2& net, const Tensor& pixels) {
  GridSize size{static_cast<int>(pixels.shape[2]), static_cast<int>(pixels.shape[3])};
  for (const ConvUnit* unit : {&net.stem1, &net.stem2a, &net.stem2b, &net.stem3, &net.stem4}) {
    size = {unit->conv.shape.out_height(size.height), unit->conv.shape.out_width(size.width)};
  }
  return size;
}

}  // namespace

HgnetV2Config read_hgnet_v2_config(const ConfigReader& config) {
  constexpr int kMaxChannels = 16384, kMaxCount = 64;
  config.one_of("hidden_act", {"relu"}, "relu");
  config.integer("num_channels", 3, 3, 3);
  HgnetV2Config c;
  const std::vector<int> stem = config.integers("stem_channels", 1, kMaxChannels, {3, 32, 48});
  if (stem.size() != 3 || stem[0] != 3) config.refuse("stem_channels", "3 and two numbers of channels");
  c.stem_middle = stem[1];
  c.stem_out = stem[2];
  const std::vector<int> strides = config.integers("stem_strides", 1, 4, {2, 1, 1, 2, 1});
  if (strides.size() != 5 || strides[1] != 1 || strides[2] != 1) {
    config.refuse("stem_strides", "five strides, the second and the third of them 1");
  }
  std::ranges::copy(std::initializer_list<int>{strides[0], strides[3], strides[4]}, std::begin(c.stem_strides));
  c.has_affine = config.boolean("use_learnable_affine_block", false);

  const std::vector<int> in = config.integers("stage_in_channels", 1, kMaxChannels, {48, 128, 512, 1024});
  if (in.empty()) config.refuse("stage_in_channels", "at least one stage");
  const auto list = [&](const char* key, int min, int max, std::vector<int> fallback) {
    std::vector<int> values = config.integers(key, min, max, std::move(fallback));
    if (values.size() != in.size()) config.refuse(key, fmt::format("{} values, one a stage", in.size()));
    return values;
  };
  const std::vector<int> middle = list("stage_mid_channels", 1, kMaxChannels, {48, 96, 192, 384});
  const std::vector<int> out = list("stage_out_channels", 2, kMaxChannels, {128, 512, 1024, 2048});
  const std::vector<int> blocks = list("stage_num_blocks", 1, kMaxCount, {1, 1, 3, 1});
  const std::vector<int> layers = list("stage_numb_of_layers", 1, kMaxCount, {6, 6, 6, 6});
  const std::vector<int> kernels = list("stage_kernel_size", 1, 15, {3, 3, 5, 5});
  const std::vector<int> stage_strides = list("stage_downsample_strides", 1, 4, {2, 2, 2, 2});
  const std::vector<bool> are_light = config.booleans("stage_light_block", {false, false, true, true});
  if (are_light.size() != in.size())
    config.refuse("stage_light_block", fmt::format("{} values, one a stage", in.size()));
  std::vector<bool> downsamples(in.size(), true);
  downsamples[0] = false;
  if (config.booleans("stage_downsample", downsamples) != downsamples) {
    config.refuse("stage_downsample", "false for the first stage and true for the others");
  }
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (kernels[i] % 2 == 0) config.refuse("stage_kernel_size", "odd sizes");
    if (in[i] != (i == 0 ? c.stem_out : out[i - 1])) {
      config.refuse("stage_in_channels", "the channels of the stem, then those of the stages before");
    }
    c.stages.push_back({.in = in[i],
                        .middle = middle[i],
                        .out = out[i],
                        .blocks = blocks[i],
                        .layers = layers[i],
                        .kernel = kernels[i],
                        .stride = stage_strides[i],
                        .is_light = are_light[i]});
  }
  for (const int stage : read_stages(config, static_cast<int>(in.size()))) c.outputs.push_back(stage - 1);
  return c;
}

HgnetV2 read_hgnet_v2(const WeightCursor& w, const HgnetV2Names& names, const HgnetV2Config& config) {
  const int middle = config.stem_middle;
  const WeightCursor stem = w.child(names.stem);
  const auto unit = [&](const char* name, int in, int out, int kernel, int stride) {
    return read_unit(stem.child(name), names, config, square_kernel(in, out, kernel, stride));
  };
  HgnetV2 net{.stem1 = unit("stem1", 3, middle, 3, config.stem_strides[0]),
              .stem2a = unit("stem2a", middle, middle / 2, 2, 1),
              .stem2b = unit("stem2b", middle / 2, middle, 2, 1),
              .stem3 = unit("stem3", 2 * middle, middle, 3, config.stem_strides[1]),
              .stem4 = unit("stem4", middle, config.stem_out, 1, config.stem_strides[2]),
              .stages = {},
              .config = config};
  for (std::size_t i = 0; i < config.stages.size(); ++i) {
    net.stages.push_back(
        read_stage(w.child(fmt::format("{}.{}", names.stages, i)), names, config, config.stages[i], i > 0));
  }
  return net;
}

void run_hgnet_v2(Ops& ops, const HgnetV2& net, const Tensor& pixels, std::span<Tensor> features) {
  const std::int64_t batch = pixels.shape[0];
  const HgnetV2Config& config = net.config;
  GridSize size = stem_size(net, pixels);
  Tensor x;
  std::size_t output = 0;
  for (std::size_t i = 0; output < config.outputs.size(); ++i) {
    const HgnetV2::Stage& stage = net.stages[i];
    const HgnetV2Config::Stage& c = config.stages[i];
    if (i > 0) {
      const ConvolutionShape& shape = stage.downsample.conv.shape;
      size = {shape.out_height(size.height), shape.out_width(size.width)};
    }
    const Tensor y = ops.empty({batch, size.height, size.width, c.out}, ops.dtype());
    const auto released = ops.scope();
    const Tensor gathered = ops.empty({batch, size.height, size.width, c.in + c.layers * c.middle}, ops.dtype());
    const Tensor input = gathered.columns(0, c.in);
    if (i == 0) {
      run_stem(ops, net, pixels, input);
    } else {
      run_conv_unit_into(ops, stage.downsample, x, input);
    }
    run_blocks(ops, stage, c, gathered, y);
    if (static_cast<int>(i) == config.outputs[output]) features[output++] = y;
    x = y;
  }
}

}  // namespace vistazo
