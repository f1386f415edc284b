#include "models/resnet.h"

#include <fmt/format.h>

#include <iterator>

#include "models/config_values.h"
#include "weights/config_reader.h"

namespace vistazo {
namespace {

constexpr PoolingWindow kStemPool{.height = 3, .width = 3, .stride = 2, .padding = 1};
constexpr PoolingWindow kShortcutPool{.height = 2, .width = 2, .stride = 2, .reaches_beyond = true};
constexpr ConvolutionEpilogue kRelu{.activation = Activation::relu};
// The last convolution of a block adds to the shortcut, in place, and then comes the activation.
constexpr ConvolutionEpilogue kAddRelu{.activation = Activation::relu, .accumulate = true};

ConvolutionShape square_kernel(int in, int out, int kernel, int stride = 1) {
  return {.in_channels = in,
          .out_channels = out,
          .kernel_height = kernel,
          .kernel_width = kernel,
          .stride = stride,
          .padding = kernel / 2};
}

ResNet::Block read_block(const WeightCursor& w, const ResNetNames& names, int in, int out, int stride,
                         bool is_bottleneck, bool is_first) {
  ResNet::Block block;
  const auto unit = [&](int index, const ConvolutionShape& shape, const ConvolutionEpilogue& epilogue) {
    block.branch.push_back(read_conv_unit(w.child(names.branch[index]), names.conv, shape, epilogue));
  };
  if (is_bottleneck) {
    const int narrow = out / 4;
    unit(0, square_kernel(in, narrow, 1), kRelu);
    unit(1, square_kernel(narrow, narrow, 3, stride), kRelu);
    unit(2, square_kernel(narrow, out, 1), kAddRelu);
  } else {
    unit(0, square_kernel(in, out, 3, stride), kRelu);
    unit(1, square_kernel(out, out, 3), kAddRelu);
  }
  block.has_shortcut = is_first;
  block.is_pooled = stride != 1;
  if (!is_first) return block;
  const std::string_view name = block.is_pooled ? names.pooled_shortcut : names.shortcut;
  block.shortcut = read_conv_unit(w.child(name), names.conv, square_kernel(in, out, 1), {});
  return block;
}

// x (B, H, W, in) -> y (B, H', W', out). x may be y where the block keeps the shape: it is its own shortcut then.
void run_block(Ops& ops, const ResNet::Block& block, const Tensor& x, const Tensor& y) {
  const auto released = ops.scope();
  if (block.has_shortcut) {
    const auto inner = ops.scope();
    run_conv_unit_into(ops, block.shortcut, block.is_pooled ? ops.pooling(x, Pooling::average, kShortcutPool) : x, y);
  } else if (x.data != y.data) {
    ops.copy_into(x, y);
  }
  Tensor branch = x;
  for (std::size_t i = 0; i + 1 < block.branch.size(); ++i) branch = run_conv_unit(ops, block.branch[i], branch);
  run_conv_unit_into(ops, block.branch.back(), branch, y);
}

Tensor run_stem(Ops& ops, const ResNet& net, const Tensor& pixels) {
  Tensor x = run_conv_unit_on_pixels(ops, net.stem[0], pixels);
  for (std::size_t i = 1; i < std::size(net.stem); ++i) x = run_conv_unit(ops, net.stem[i], x);
  return x;
}

}  // namespace

ResNetConfig read_resnet_config(const ConfigReader& config) {
  constexpr int kMaxChannels = 16384, kMaxLayers = 256;
  config.one_of("hidden_act", {"relu"}, "relu");
  config.integer("num_channels", 3, 3, 3);
  ResNetConfig c;
  c.stem_out = config.integer("embedding_size", 2, kMaxChannels, 64);
  if (c.stem_out % 2 != 0) config.refuse("embedding_size", "an even number");
  c.is_bottleneck = config.one_of("layer_type", {"basic", "bottleneck"}, "bottleneck") == "bottleneck";
  const std::vector<int> sizes = config.integers("hidden_sizes", 4, kMaxChannels, {256, 512, 1024, 2048});
  const std::vector<int> depths = config.integers("depths", 1, kMaxLayers, {3, 4, 6, 3});
  if (sizes.empty() || depths.size() != sizes.size()) config.refuse("depths", "one value for each of hidden_sizes");
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] % 4 != 0) config.refuse("hidden_sizes", "multiples of 4");
    c.stages.push_back({sizes[i], depths[i]});
  }
  if (config.boolean("downsample_in_first_stage", false)) config.refuse("downsample_in_first_stage", "false");
  if (config.boolean("downsample_in_bottleneck", false)) config.refuse("downsample_in_bottleneck", "false");
  if (!c.is_bottleneck && sizes[0] != c.stem_out) {
    config.refuse("hidden_sizes", "embedding_size for the first stage of basic layers");
  }
  for (const int stage : read_stages(config, static_cast<int>(sizes.size()))) c.outputs.push_back(stage - 1);
  return c;
}

ResNet read_resnet(const WeightCursor& w, const ResNetNames& names, const ResNetConfig& config) {
  const int half = config.stem_out / 2;
  const ConvolutionShape stem[3] = {square_kernel(3, half, 3, 2), square_kernel(half, half, 3),
                                    square_kernel(half, config.stem_out, 3)};
  ResNet net;
  net.config = config;
  for (int i = 0; i < 3; ++i) net.stem[i] = read_conv_unit(w.child(names.stem[i]), names.conv, stem[i], kRelu);
  int in = config.stem_out;
  for (std::size_t s = 0; s < config.stages.size(); ++s) {
    std::vector<ResNet::Block>& stage = net.stages.emplace_back();
    const int out = config.stages[s].out;
    for (int i = 0; i < config.stages[s].layers; ++i) {
      const WeightCursor block = w.child(fmt::format("{}.{}.{}.{}", names.stages, s, names.layers, i));
      const int stride = s > 0 && i == 0 ? 2 : 1;
      stage.push_back(read_block(block, names, in, out, stride, config.is_bottleneck, i == 0));
      in = out;
    }
  }
  return net;
}

void run_resnet(Ops& ops, const ResNet& net, const Tensor& pixels, std::span<Tensor> features) {
  const std::int64_t batch = pixels.shape[0];
  const ResNetConfig& config = net.config;
  const ConvolutionShape& stem = net.stem[0].conv.shape;
  GridSize size{kStemPool.out_height(stem.out_height(static_cast<int>(pixels.shape[2]))),
                kStemPool.out_width(stem.out_width(static_cast<int>(pixels.shape[3])))};
  Tensor x = ops.empty({batch, size.height, size.width, config.stem_out}, ops.dtype());
  {
    const auto released = ops.scope();
    ops.pooling_into(run_stem(ops, net, pixels), Pooling::max, kStemPool, x);
  }
  std::size_t output = 0;
  for (std::size_t s = 0; output < config.outputs.size(); ++s) {
    if (s > 0) size = {kShortcutPool.out_height(size.height), kShortcutPool.out_width(size.width)};
    const Tensor y = ops.empty({batch, size.height, size.width, config.stages[s].out}, ops.dtype());
    for (std::size_t i = 0; i < net.stages[s].size(); ++i) run_block(ops, net.stages[s][i], i == 0 ? x : y, y);
    if (static_cast<int>(s) == config.outputs[output]) features[output++] = y;
    x = y;
  }
}

}  // namespace vistazo
