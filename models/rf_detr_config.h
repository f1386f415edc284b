#pragma once

#include <string>
#include <vector>

#include "engine/ops.h"
#include "models/deformable_decoder.h"
#include "models/vit.h"

namespace vistazo {

class ConfigReader;

// RF-DETR as its config.json describes it, checked.
struct RfDetrConfig {
  VitConfig vit;
  int patch = 0;
  int windows = 0;                // a side
  GridSize image;                 // that the position embeddings were trained at
  std::vector<int> stages;        // 1-based and rising: the feature map behind that many layers
  std::vector<bool> is_windowed;  // by layer
  std::vector<double> scales;     // of the projector's levels: 2 (P3), 1 (P4), 0.5 (P5)
  int c2f_blocks = 0, c2f_hidden = 0;
  Activation projector_activation = Activation::silu;
  float projector_eps = 0;
  DecoderConfig decoder;
  int queries = 0;
  int query_groups = 1;
  int classes = 0;
  std::vector<std::string> class_names;
  bool has_masks = false;  // a segmentation model, of which only the detector is read
};

// config: the whole config.json. Keys that it leaves out have transformers' defaults.
// Throws Error{file} for a value out of range and Error{unsupported} for a variant that is not implemented.
RfDetrConfig read_rf_detr_config(const ConfigReader& config);

}  // namespace vistazo
