#include "models/rf_detr_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/config_values.h"
#include "weights/config_reader.h"

namespace vistazo {
namespace {

// A side, or [height, width].
GridSize read_size(const ConfigReader& config, const char* key, int fallback) {
  constexpr int kMaxSide = 1 << 15;
  if (!config.is_list(key)) {
    const int side = config.integer(key, 1, kMaxSide, fallback);
    return {side, side};
  }
  const std::vector<int> sides = config.integers(key, 1, kMaxSide);
  if (sides.size() != 2) config.refuse(key, "a side, or [height, width]");
  return {sides[0], sides[1]};
}

void read_trunk(const ConfigReader& trunk, RfDetrConfig& c) {
  trunk.one_of("model_type", {"rf_detr_dinov2"}, "rf_detr_dinov2");
  trunk.one_of("hidden_act", {"gelu"}, "gelu");
  trunk.integer("num_channels", 3, 3, 3);
  if (trunk.boolean("use_swiglu_ffn", false))
    trunk.refuse("use_swiglu_ffn", "false: SwiGLU trunks are not implemented");
  if (!trunk.boolean("apply_layernorm", true)) trunk.refuse("apply_layernorm", "true");
  if (!trunk.boolean("reshape_hidden_states", true)) trunk.refuse("reshape_hidden_states", "true");
  c.vit.dim = trunk.integer("hidden_size", 8, 4096, 768);
  c.vit.heads = trunk.integer("num_attention_heads", 1, 64, 12);
  c.vit.layers = trunk.integer("num_hidden_layers", 1, 64, 12);
  c.vit.mlp_dim = c.vit.dim * trunk.integer("mlp_ratio", 1, 8, 4);
  c.vit.norm_eps = static_cast<float>(trunk.number("layer_norm_eps", 0.0, 1.0, 1e-6));
  c.vit.has_qkv_bias = trunk.boolean("qkv_bias", true);
  if (c.vit.dim % c.vit.heads != 0) trunk.refuse("num_attention_heads", "a divisor of hidden_size");

  const GridSize patch = read_size(trunk, "patch_size", 14);
  if (patch.height != patch.width || patch.height > 64) trunk.refuse("patch_size", "one side, at most 64");
  c.patch = patch.height;
  c.windows = trunk.integer("num_windows", 1, 16, 4);
  c.image = read_size(trunk, "image_size", 224);
  if (c.image.height / c.patch != c.image.width / c.patch || c.image.height < c.patch) {
    trunk.refuse("image_size", "a square of at least one patch: position embeddings are a square grid");
  }
  c.stages = read_stages(trunk, c.vit.layers);
  // Layer i attends over the whole image where i itself is among the stages: the reference compares the 0-based layer
  // with the 1-based stage, and checkpoints are trained so.
  for (int i = 0; i < c.vit.layers; ++i) {
    const bool is_global = i > c.stages.back() || std::ranges::find(c.stages, i) != c.stages.end();
    c.is_windowed.push_back(!is_global);
  }
}

void read_decoder(const ConfigReader& config, RfDetrConfig& c) {
  DecoderConfig& d = c.decoder;
  d.dim = config.integer("d_model", 8, 2048, 256);
  d.layers = config.integer("decoder_layers", 1, 64, 3);
  d.self_heads = config.integer("decoder_self_attention_heads", 1, 64, 8);
  d.cross_heads = config.integer("decoder_cross_attention_heads", 1, 64, 16);
  d.points = config.integer("decoder_n_points", 1, 64, 4);
  d.ffn_dim = config.integer("decoder_ffn_dim", 1, 16384, 2048);
  d.norm_eps = 1e-5f;  // PyTorch's default: the reference does not pass the config's value on
  d.activation = read_activation(config, "decoder_activation_function", "relu");
  d.levels = static_cast<int>(c.scales.size());
  if (!config.boolean("attention_bias", true)) config.refuse("attention_bias", "true");
  if (d.dim % d.self_heads != 0) config.refuse("decoder_self_attention_heads", "a divisor of d_model");
  if (d.dim % d.cross_heads != 0) config.refuse("decoder_cross_attention_heads", "a divisor of d_model");
  if (d.dim % 4 != 0) config.refuse("d_model", "a multiple of 4");
}

}  // namespace

RfDetrConfig read_rf_detr_config(const ConfigReader& config) {
  RfDetrConfig c;
  if (config.has("architectures")) {
    const std::vector<std::string> names = config.strings("architectures");
    c.has_masks = std::ranges::find(names, "RfDetrForInstanceSegmentation") != names.end();
    if (!c.has_masks && std::ranges::find(names, "RfDetrForObjectDetection") == names.end()) {
      config.refuse("architectures", "RfDetrForObjectDetection or RfDetrForInstanceSegmentation");
    }
  }
  read_trunk(config.child("backbone_config"), c);

  // LW-DETR's key. Absent from every released RF-DETR but the first Large, which looks at P3 and P5.
  c.scales = {1.0};
  if (config.has("projector_scale_factors")) c.scales = config.numbers("projector_scale_factors", 0.25, 4.0);
  const bool are_known = std::ranges::all_of(c.scales, [](double s) { return s == 2.0 || s == 1.0 || s == 0.5; });
  if (c.scales.empty() || c.scales.size() > DeformableAttentionArgs::kMaxLevels || !are_known) {
    config.refuse("projector_scale_factors", "1 to 4 values out of 2, 1 and 0.5");
  }
  if (config.integer("num_feature_levels", 1, 4, static_cast<int>(c.scales.size())) !=
      static_cast<int>(c.scales.size())) {
    config.refuse("num_feature_levels", fmt::format("{}, the number of projector_scale_factors", c.scales.size()));
  }
  read_decoder(config, c);
  c.c2f_blocks = config.integer("c2f_num_blocks", 0, 64, 3);
  c.c2f_hidden = static_cast<int>(c.decoder.dim * config.number("hidden_expansion", 0.01, 4.0, 0.5));
  c.projector_activation = read_activation(config, "activation_function", "silu");
  c.projector_eps = static_cast<float>(config.number("layer_norm_eps", 0.0, 1.0, 1e-5));
  c.queries = config.integer("num_queries", 1, 10000, 300);
  c.query_groups = config.integer("group_detr", 1, 64, 13);
  c.class_names = read_class_names(config);
  c.classes = static_cast<int>(c.class_names.size());
  return c;
}

}  // namespace vistazo
