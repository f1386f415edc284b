#pragma once

#include <string>
#include <variant>
#include <vector>

#include "models/deformable_decoder.h"
#include "models/hgnet_v2.h"
#include "models/hybrid_encoder.h"
#include "models/resnet.h"

namespace vistazo {

class ConfigReader;

// RT-DETR or RT-DETRv2 as its config.json describes it, checked.
struct RtDetrConfig {
  std::variant<ResNetConfig, HgnetV2Config> backbone;
  HybridEncoderConfig encoder;
  DecoderConfig decoder;
  int trained_layers = 0;  // of the decoder, at least decoder.layers: the rest only helps in training
  int queries = 0;
  bool has_learned_queries = false;  // else the chosen cells' features
  GridSize input;                    // that it was trained at
  std::vector<std::string> class_names;

  int classes() const { return static_cast<int>(class_names.size()); }
};

// config: the whole config.json. Keys that it leaves out have transformers' defaults.
// Throws Error{file} for a value out of range and Error{unsupported} for a variant that is not implemented.
RtDetrConfig read_rt_detr_config(const ConfigReader& config);

}  // namespace vistazo
