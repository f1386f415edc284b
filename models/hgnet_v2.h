#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "engine/ops.h"
#include "engine/weight_cursor.h"
#include "models/conv_blocks.h"

// HGNetV2, PaddleDetection's convolutional backbone, as RT-DETR, D-FINE and DEIMv2 use it: a stem at stride 4, then
// stages whose blocks gather the outputs of all their layers before two 1 x 1 convolutions.
namespace vistazo {

class ConfigReader;

struct HgnetV2Config {
  struct Stage {
    int in = 0, middle = 0, out = 0;  // channels
    int blocks = 0, layers = 0;       // layers of a block
    int kernel = 3;
    int stride = 2;         // of the depthwise convolution in front of every stage but the first
    bool is_light = false;  // a layer is a 1 x 1 and a depthwise convolution
  };
  int stem_middle = 0, stem_out = 0;
  int stem_strides[3] = {2, 2, 1};  // of the first, third and fourth convolution
  std::vector<Stage> stages;
  std::vector<int> outputs;  // stages whose result is asked for: 0-based, rising
  bool has_affine = false;   // a learned scale and bias behind every activation
};

// A backbone_config of model_type hgnet_v2. Throws Error{file} for a value out of range, Error{unsupported} for a
// variant that is not implemented.
HgnetV2Config read_hgnet_v2_config(const ConfigReader& config);

struct HgnetV2Names {
  std::string_view stem, stages;  // "embedder", "encoder.stages"; "stem", "stages"
  BatchNormNames conv;            // "convolution", "normalization"; "conv", "bn"
};

inline constexpr HgnetV2Names kHgnetV2HuggingFace{"embedder", "encoder.stages", {"convolution", "normalization"}};
inline constexpr HgnetV2Names kHgnetV2Original{"stem", "stages", {"conv", "bn"}};

struct HgnetV2 {
  struct Layer {
    ConvUnit first, second;  // of a light layer; else only the second
  };
  struct Block {
    std::vector<Layer> layers;
    ConvUnit squeeze, excite;
  };
  struct Stage {
    ConvUnit downsample;  // none in the first stage
    std::vector<Block> blocks;
  };
  ConvUnit stem1, stem2a, stem2b, stem3, stem4;
  std::vector<Stage> stages;
  HgnetV2Config config;
};

HgnetV2 read_hgnet_v2(const WeightCursor& w, const HgnetV2Names& names, const HgnetV2Config& config);

// pixels (B, 3, H, W) f32 -> features[i] (B, H', W', C), dtype(): the result of stage config.outputs[i].
void run_hgnet_v2(Ops& ops, const HgnetV2& net, const Tensor& pixels, std::span<Tensor> features);

}  // namespace vistazo
