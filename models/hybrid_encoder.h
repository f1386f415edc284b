#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "engine/ops.h"
#include "engine/weight_cursor.h"
#include "models/conv_blocks.h"

// RT-DETR's hybrid encoder (Zhao et al. 2024, arXiv:2304.08069, section 4.2): attention within the coarsest map, then
// convolutions that fuse the maps top down and bottom up.
namespace vistazo {

// A post-norm transformer layer whose queries and keys know their position. D-FINE and DEIMv2 have it too.
struct EncoderLayer {
  Linear query_key, value, out;
  Linear fc1, fc2;
  Norm norm1, norm2;
  Activation activation = Activation::gelu;
};

// What the dialects of a checkpoint call things.
struct EncoderLayerNames {
  std::string_view norm1, norm2, fc1, fc2;
  std::string_view out = "out_proj";  // of the attention
};

inline constexpr EncoderLayerNames kEncoderLayerHuggingFace{"self_attn_layer_norm", "final_layer_norm", "fc1", "fc2"};
inline constexpr EncoderLayerNames kEncoderLayerOriginal{"norm1", "norm2", "linear1", "linear2"};

EncoderLayer read_encoder_layer(const WeightCursor& w, const EncoderLayerNames& names, int dim, int ffn_dim,
                                float norm_eps, Activation activation);
// map (B, H, W, dim), dtype() -> the same, after the layers.
Tensor run_encoder_layers(Ops& ops, std::span<const EncoderLayer> layers, int heads, float temperature,
                          const Tensor& map);

struct HybridEncoderConfig {
  std::vector<int> in;  // channels of the backbone's maps, finest first
  int dim = 0;
  int heads = 0, ffn_dim = 0, layers = 0;
  std::vector<int> attended;  // maps with attention
  int hidden = 0;             // channels within a fusion block
  int blocks = 3;             // RepVGG blocks of a fusion block
  Activation activation = Activation::silu, ffn_activation = Activation::gelu;
  float temperature = 10000.0f;
  float norm_eps = 1e-5f, batch_norm_eps = kBatchNormEps;
};

// A cross-stage partial block of RepVGG blocks, each a 3 x 3 convolution once its branches are summed.
struct FusionBlock {
  ConvUnit conv1, conv2;
  std::vector<ConvUnit> bottlenecks;
  ConvUnit conv3;  // none where the block is as wide inside as outside
  bool has_conv3 = false;
};

struct HybridEncoder {
  std::vector<ConvUnit> projections;              // one a map
  std::vector<std::vector<EncoderLayer>> layers;  // one list for each attended map
  std::vector<ConvUnit> laterals, downsamples;    // in the order in which they run
  std::vector<FusionBlock> top_down, bottom_up;
  HybridEncoderConfig config;
};

// encoder: at the encoder; projections: at the convolution in front of each map.
HybridEncoder read_hybrid_encoder(const WeightCursor& encoder, const WeightCursor& projections,
                                  const EncoderLayerNames& names, const HybridEncoderConfig& config);

// features[i] (B, H, W, in[i]) -> maps[i] (B, H, W, dim), both dtype(), each map half as high and wide as the one
// before.
void run_hybrid_encoder(Ops& ops, const HybridEncoder& encoder, std::span<const Tensor> features,
                        std::span<Tensor> maps);

}  // namespace vistazo
