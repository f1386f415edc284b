#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "engine/ops.h"
#include "engine/weight_cursor.h"
#include "models/conv_blocks.h"
#include "models/vit.h"

// DEIMv2's backbone for its larger models (Huang et al. 2025, arXiv:2509.20787, section 3.1): DINOv3 (Siméoni et al.
// 2025, arXiv:2508.10104), a ViT with rotary positions whose tokens are one scale, beside a few convolutions that make
// three ("spatial tuning adapter").
namespace vistazo {

class ConfigReader;

struct Dinov3Config {
  static constexpr int kMaps = 3;

  VitConfig vit;
  int patch = 16, registers = 0;
  float rope_base = 100.0f;
  std::vector<int> outputs;  // kMaps blocks, 0-based and rising, behind which maps are taken
  bool has_key_bias = false, has_layer_scale = true;
  bool normalizes_last = true;  // the map from behind the last block goes through the trunk's norm,
  bool normalizes_all = true;   // and so do the others
};

// A backbone_config of model_type dinov3_vit.
Dinov3Config read_dinov3_config(const ConfigReader& config);

// The tensors' names: of transformers, of DINOv3's authors inside DEIMv2, and of DEIMv2's own small trunks.
enum class Dinov3Dialect { huggingface, original, original_tiny };

struct Dinov3 {
  Dinov3Config config;
  std::vector<float> prefix_tokens, patch_bias;  // on the host: they become a table for each input size
  Linear patch_embedding;
  std::vector<VitBlock> blocks;
  Norm norm;
  ConvUnit stem, adapters[Dinov3Config::kMaps], fusions[Dinov3Config::kMaps];
};

// adapter: channels of the first convolution; out: of the maps.
Dinov3 read_dinov3(const WeightCursor& w, Dinov3Dialect dialect, const Dinov3Config& c, int adapter, int out);

// pixels (B, 3, H, W) f32 -> maps[i] (B, H / s, W / s, out), dtype(), for the strides s of 8, 16 and 32.
void run_dinov3(Ops& ops, const Dinov3& net, const Tensor& pixels, std::span<Tensor> maps);

}  // namespace vistazo
