#include "models/d_fine_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/config_values.h"
#include "weights/config_reader.h"

namespace vistazo {
namespace {

constexpr int kMaxDim = 4096;

// What differs between the two families in what they share.
struct Family {
  bool is_deimv2;
  const char* fusion;  // of a pair of maps, where the config does not say
};

void read_backbone(const ConfigReader& config, const Family& family, DFineConfig& c) {
  const ConfigReader backbone = config.child("backbone_config");
  const std::string type = family.is_deimv2 ? backbone.one_of("model_type", {"hgnet_v2", "dinov3_vit"})
                                            : backbone.one_of("model_type", {"hgnet_v2"});
  c.has_dinov3 = type == "dinov3_vit";
  if (c.has_dinov3) {
    c.dinov3 = read_dinov3_config(backbone);
    c.adapter_channels = config.integer("spatial_tuning_adapter_inplanes", 1, kMaxDim, 16);
    c.backbone_channels.assign(Dinov3Config::kMaps, c.elan.dim);
    return;
  }
  c.hgnet = read_hgnet_v2_config(backbone);
  for (const int stage : c.hgnet.outputs) {
    if (stage < 0) backbone.refuse("out_indices", "stages from 1 on");
    c.backbone_channels.push_back(c.hgnet.stages[static_cast<std::size_t>(stage)].out);
  }
}

void read_elan(const ConfigReader& config, const Family& family, DFineConfig& c) {
  config.one_of("activation_function", {"silu"}, "silu");
  const double expansion = config.number("hidden_expansion", 0.01, 8.0, 1.0);
  const double depth = config.number("depth_mult", 0.0, 16.0, 1.0);
  c.elan.dim = config.integer("encoder_hidden_dim", 8, kMaxDim, 256);
  // The reference rounds down, and a half to the even neighbour.
  c.elan.hidden = static_cast<int>(std::floor(expansion * c.elan.dim / 2));
  c.elan.blocks = static_cast<int>(std::nearbyint(3 * depth));
  c.elan.has_fused_split = family.is_deimv2;
  c.elan.has_trailing = !family.is_deimv2 || config.boolean("encoder_has_trailing_conv", true);
  const bool is_sum = family.is_deimv2 && config.one_of("encoder_fuse_op", {"sum", "cat"}, family.fusion) == "sum";
  c.elan.in = is_sum ? c.elan.dim : 2 * c.elan.dim;
  if (c.elan.hidden < 1) config.refuse("hidden_expansion", "at least one channel a branch");
}

void read_encoder(const ConfigReader& config, const Family& family, DFineConfig& c) {
  const int maps = static_cast<int>(c.backbone_channels.size());
  c.has_lite_encoder = family.is_deimv2 && config.one_of("encoder_type", {"hybrid", "lite"}, "hybrid") == "lite";
  if (c.has_lite_encoder) {
    if (maps != 1) config.refuse("encoder_type", "hybrid: a lite one takes one map of the backbone");
    c.elan.in = c.elan.dim;
    c.maps = 2;
    c.has_input_projection = false;
    return;
  }
  c.maps = maps;
  c.has_input_projection = !c.has_dinov3;
  c.encoder_layers = config.integer("encoder_layers", 0, 64, 1);
  c.encoder_heads = config.integer("encoder_attention_heads", 1, 64, 8);
  c.encoder_ffn_dim = config.integer("encoder_ffn_dim", 1, 65536, 1024);
  c.encoder_activation = read_activation(config, "encoder_activation_function", "gelu");
  c.temperature = static_cast<float>(config.number("positional_encoding_temperature", 1.0, 1e9, 10000));
  c.attended = config.integers("encode_proj_layers", 0, maps - 1, {maps - 1});
  if (config.boolean("normalize_before", false)) config.refuse("normalize_before", "false");
  if (config.has("eval_size")) config.refuse("eval_size", "null: positions are made for the input's size");
  if (c.elan.dim % 4 != 0 || c.elan.dim % c.encoder_heads != 0) {
    config.refuse("encoder_attention_heads", "a divisor of encoder_hidden_dim, itself a multiple of 4");
  }
}

void read_decoder(const ConfigReader& config, const Family& family, DFineConfig& c) {
  FdrConfig& d = c.decoder;
  d.dim = config.integer("d_model", 8, kMaxDim, 256);
  const int layers = config.integer("decoder_layers", 1, 64, 6);
  const int evaluated = config.integer("eval_idx", -layers, layers - 1, -1);
  d.layers = (evaluated < 0 ? layers + evaluated : evaluated) + 1;  // those behind it only train
  d.heads = config.integer("decoder_attention_heads", 1, 64, 8);
  d.ffn_dim = config.integer("decoder_ffn_dim", 2, 65536, 1024);
  const int levels = config.integer("num_feature_levels", 1, DeformableAttentionArgs::kMaxLevels, 3);
  if (levels != c.maps) config.refuse("num_feature_levels", fmt::format("{}, one for each map of the encoder", c.maps));
  constexpr int kMaxPoints = 64;
  d.points =
      config.is_list("decoder_n_points")
          ? config.integers("decoder_n_points", 1, kMaxPoints)
          : std::vector<int>(static_cast<std::size_t>(levels), config.integer("decoder_n_points", 1, kMaxPoints, 4));
  if (d.levels() != levels) config.refuse("decoder_n_points", "one number a level");
  d.queries = config.integer("num_queries", 1, 10000, 300);
  d.bins = config.integer("max_num_bins", 4, EdgeLogits::kMaxBins - 2, 32) + 1;
  if (d.bins % 2 == 0) config.refuse("max_num_bins", "an even number");
  d.peaks = config.integer("top_prob_values", 1, d.bins, 4);
  d.quality_hidden = config.integer("lqe_hidden_dim", 1, kMaxDim, 64);
  d.quality_layers = config.integer("lqe_layers", 1, 16, 2);
  d.offset_scale = static_cast<float>(config.number("decoder_offset_scale", 0.0, 100.0, 0.5));
  d.norm_eps = static_cast<float>(config.number("layer_norm_eps", 0.0, 1.0, 1e-5));
  d.ffn_activation = read_activation(config, "decoder_activation_function", "relu");
  config.one_of("decoder_method", {"default"}, "default");
  if (config.number("layer_scale", 0.01, 16.0, 1.0) != 1.0) config.refuse("layer_scale", "1");
  if (config.boolean("learn_initial_query", false)) config.refuse("learn_initial_query", "false");
  if (d.dim % d.heads != 0) config.refuse("decoder_attention_heads", "a divisor of d_model");

  const std::vector<int> in = config.integers("decoder_in_channels", 1, kMaxDim,
                                              std::vector<int>(static_cast<std::size_t>(levels), c.elan.dim));
  if (std::ranges::any_of(in, [&](int channels) { return channels != c.elan.dim; }) ||
      static_cast<int>(in.size()) != levels) {
    config.refuse("decoder_in_channels", "encoder_hidden_dim for each level");
  }
  c.has_decoder_projection = c.elan.dim != d.dim;

  d.head_activation = read_activation(config, "head_activation_function", "relu");
  d.position_activation = d.head_activation;
  d.position_hidden = 2 * d.dim;
  d.position_layers = 2;
  if (!family.is_deimv2) return;
  d.position_activation = d.ffn_activation;
  d.position_hidden = d.dim;
  d.position_layers = 3;
  d.has_rms_norms = d.has_swiglu = true;
  d.has_shared_box_head = config.boolean("share_bbox_head", false);
  d.has_gateway = config.boolean("use_gateway", true);
  d.has_memory_norm = config.boolean("use_encoder_output", true);
  d.has_fixed_position = config.boolean("fixed_query_positions", false);
}

int read_input(const ConfigReader& config) {
  constexpr int kMaxSide = 1 << 16;
  if (!config.has("anchor_image_size")) return 640;
  if (!config.is_list("anchor_image_size")) return config.integer("anchor_image_size", 32, kMaxSide);
  return config.integers("anchor_image_size", 32, kMaxSide).at(0);
}

DFineConfig read_config(const ConfigReader& config, const Family& family) {
  DFineConfig c;
  read_elan(config, family, c);
  read_backbone(config, family, c);
  read_encoder(config, family, c);
  read_decoder(config, family, c);
  c.class_names = read_class_names(config);
  c.decoder.classes = static_cast<int>(c.class_names.size());
  if (c.decoder.classes == 0) config.refuse("id2label", "at least one label");
  c.input = read_input(config);
  return c;
}

}  // namespace

DFineConfig read_d_fine_config(const ConfigReader& config) {
  return read_config(config, {.is_deimv2 = false, .fusion = "cat"});
}

DFineConfig read_deimv2_config(const ConfigReader& config) {
  return read_config(config, {.is_deimv2 = true, .fusion = "sum"});
}

}  // namespace vistazo
