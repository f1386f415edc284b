#pragma once

#include <string>
#include <vector>

#include "models/dinov3.h"
#include "models/elan.h"
#include "models/fdr_decoder.h"
#include "models/hgnet_v2.h"

namespace vistazo {

class ConfigReader;

// D-FINE and DEIMv2: a backbone, an encoder that mixes its maps, D-FINE's decoder.
struct DFineConfig {
  bool has_dinov3 = false;  // else HGNetV2
  HgnetV2Config hgnet;
  Dinov3Config dinov3;
  int adapter_channels = 0;
  std::vector<int> backbone_channels;  // of each map

  bool has_lite_encoder = false;  // else attention within some maps, and a pyramid
  bool has_input_projection = true;
  std::vector<int> attended;  // maps with attention
  int encoder_layers = 0, encoder_heads = 0, encoder_ffn_dim = 0;
  Activation encoder_activation = Activation::gelu;
  float temperature = 10000.0f;
  ElanConfig elan;
  int maps = 0;  // that the decoder looks at

  FdrConfig decoder;
  bool has_decoder_projection = false;
  int input = 640;  // the side that it was trained at
  std::vector<std::string> class_names;
};

// The config.json of transformers' DFineConfig or Deimv2Config. Throws Error{file} for a value out of range,
// Error{unsupported} for a variant that is not implemented.
// DEIMv2's authors compute some things differently from transformers; keys of our own say so, where the weights are
// theirs: "head_activation_function", "use_encoder_output" and "fixed_query_positions".
DFineConfig read_d_fine_config(const ConfigReader& config);
DFineConfig read_deimv2_config(const ConfigReader& config);

}  // namespace vistazo
