#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "engine/ops.h"
#include "engine/weight_cursor.h"
#include "models/conv_blocks.h"

// ResNet-vd (He et al. 2019, arXiv:1812.01187, figures 2 b to d): three convolutions and a maximum in the stem, and an
// average in front of the 1 x 1 convolution of a shortcut that halves the map.
namespace vistazo {

class ConfigReader;

struct ResNetConfig {
  struct Stage {
    int out = 0;     // channels
    int layers = 0;  // residual blocks
  };
  int stem_out = 0;
  std::vector<Stage> stages;
  std::vector<int> outputs;    // stages whose result is asked for: 0-based, rising
  bool is_bottleneck = false;  // 1 x 1, 3 x 3, 1 x 1; else two 3 x 3
};

// A backbone_config of model_type rt_detr_resnet. Throws Error{file} for a value out of range, Error{unsupported} for a
// variant that is not implemented.
ResNetConfig read_resnet_config(const ConfigReader& config);

// What the dialects of a checkpoint call things.
struct ResNetNames {
  std::string_view stem[3];
  std::string_view stages, layers;   // <stages>.0.<layers>.0
  std::string_view branch[3];        // the convolutions of a residual block
  std::string_view shortcut;         // where it has a convolution only
  std::string_view pooled_shortcut;  // where an average comes first
  BatchNormNames conv;
};

inline constexpr ResNetNames kResNetHuggingFace{
    .stem = {"embedder.embedder.0", "embedder.embedder.1", "embedder.embedder.2"},
    .stages = "encoder.stages",
    .layers = "layers",
    .branch = {"layer.0", "layer.1", "layer.2"},
    .shortcut = "shortcut",
    .pooled_shortcut = "shortcut.1",
    .conv = {"convolution", "normalization"}};
inline constexpr ResNetNames kResNetOriginal{.stem = {"conv1.conv1_1", "conv1.conv1_2", "conv1.conv1_3"},
                                             .stages = "res_layers",
                                             .layers = "blocks",
                                             .branch = {"branch2a", "branch2b", "branch2c"},
                                             .shortcut = "short",
                                             .pooled_shortcut = "short.conv",
                                             .conv = {"conv", "norm"}};

struct ResNet {
  struct Block {
    std::vector<ConvUnit> branch;
    ConvUnit shortcut;  // none: the input itself
    bool has_shortcut = false, is_pooled = false;
  };
  ConvUnit stem[3];
  std::vector<std::vector<Block>> stages;
  ResNetConfig config;
};

ResNet read_resnet(const WeightCursor& w, const ResNetNames& names, const ResNetConfig& config);

// pixels (B, 3, H, W) f32 -> features[i] (B, H', W', C), dtype(): the result of stage config.outputs[i].
void run_resnet(Ops& ops, const ResNet& net, const Tensor& pixels, std::span<Tensor> features);

}  // namespace vistazo
