#include "models/rt_detr_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/config_values.h"
#include "weights/config_reader.h"

namespace vistazo {
namespace {

// The channels of the maps that the backbone gives.
std::vector<int> read_backbone(const ConfigReader& backbone, RtDetrConfig& c) {
  std::vector<int> channels;
  if (backbone.one_of("model_type", {"rt_detr_resnet", "hgnet_v2"}, "rt_detr_resnet") == "hgnet_v2") {
    const HgnetV2Config net = read_hgnet_v2_config(backbone);
    for (const int stage : net.outputs) channels.push_back(net.stages[static_cast<std::size_t>(stage)].out);
    c.backbone = net;
  } else {
    const ResNetConfig net = read_resnet_config(backbone);
    for (const int stage : net.outputs) channels.push_back(net.stages[static_cast<std::size_t>(stage)].out);
    c.backbone = net;
  }
  return channels;
}

void read_encoder(const ConfigReader& config, RtDetrConfig& c) {
  HybridEncoderConfig& e = c.encoder;
  e.dim = config.integer("encoder_hidden_dim", 4, 4096, 256);
  e.heads = config.integer("encoder_attention_heads", 1, 64, 8);
  e.ffn_dim = config.integer("encoder_ffn_dim", 1, 16384, 1024);
  e.layers = config.integer("encoder_layers", 0, 64, 1);
  e.hidden = static_cast<int>(e.dim * config.number("hidden_expansion", 0.01, 4.0, 1.0));
  e.activation = read_activation(config, "activation_function", "silu");
  e.ffn_activation = read_activation(config, "encoder_activation_function", "gelu");
  e.temperature = static_cast<float>(config.number("positional_encoding_temperature", 1.0, 1e9, 10000.0));
  e.norm_eps = static_cast<float>(config.number("layer_norm_eps", 0.0, 1.0, 1e-5));
  e.batch_norm_eps = static_cast<float>(config.number("batch_norm_eps", 0.0, 1.0, 1e-5));
  const int maps = static_cast<int>(e.in.size());
  if (e.layers > 0) e.attended = config.integers("encode_proj_layers", 0, maps - 1, {2});
  if (!std::ranges::is_sorted(e.attended, std::less_equal<>())) {
    config.refuse("encode_proj_layers", "levels in rising order");
  }
  if (e.dim % 4 != 0) config.refuse("encoder_hidden_dim", "a multiple of 4");
  if (e.dim % e.heads != 0) config.refuse("encoder_attention_heads", "a divisor of encoder_hidden_dim");
  if (e.hidden < 1) config.refuse("hidden_expansion", "a value that leaves a channel");
  if (config.boolean("normalize_before", false)) config.refuse("normalize_before", "false");
}

void read_decoder(const ConfigReader& config, RtDetrConfig& c) {
  DecoderConfig& d = c.decoder;
  d.dim = config.integer("d_model", 4, 4096, 256);
  c.trained_layers = config.integer("decoder_layers", 1, 64, 6);
  const int last = config.integer("eval_idx", -c.trained_layers, c.trained_layers - 1, -1);  // the authors' word
  d.layers = (last < 0 ? last + c.trained_layers : last) + 1;
  d.self_heads = d.cross_heads = config.integer("decoder_attention_heads", 1, 64, 8);
  d.ffn_dim = config.integer("decoder_ffn_dim", 1, 16384, 1024);
  d.points = config.integer("decoder_n_points", 1, 64, 4);
  d.norm_eps = c.encoder.norm_eps;
  d.activation = read_activation(config, "decoder_activation_function", "relu");
  d.offset_scale = static_cast<float>(config.number("decoder_offset_scale", 0.0, 16.0, 0.5));
  d.levels = static_cast<int>(c.encoder.in.size());
  if (d.dim % d.self_heads != 0) config.refuse("decoder_attention_heads", "a divisor of d_model");
  const std::vector<int> in = config.integers("decoder_in_channels", 1, 4096, {256, 256, 256});
  const bool is_encoders = std::ranges::all_of(in, [&](int channels) { return channels == c.encoder.dim; });
  if (in.size() != c.encoder.in.size() || !is_encoders) {
    config.refuse("decoder_in_channels", fmt::format("{} times encoder_hidden_dim", c.encoder.in.size()));
  }
  for (const char* key : {"num_feature_levels", "decoder_n_levels"}) {
    if (config.integer(key, 1, 16, d.levels) != d.levels) config.refuse(key, fmt::format("{}, one a map", d.levels));
  }
  d.takes_nearest = config.one_of("decoder_method", {"default", "discrete"}, "default") == "discrete";
  if (!config.boolean("with_box_refine", true)) config.refuse("with_box_refine", "true");
}

}  // namespace

RtDetrConfig read_rt_detr_config(const ConfigReader& config) {
  RtDetrConfig c;
  c.encoder.in = read_backbone(config.child("backbone_config"), c);
  if (c.encoder.in.size() > DeformableAttentionArgs::kMaxLevels) {
    config.refuse("backbone_config", fmt::format("at most {} maps", DeformableAttentionArgs::kMaxLevels));
  }
  read_encoder(config, c);
  read_decoder(config, c);
  c.queries = config.integer("num_queries", 1, 10000, 300);
  c.has_learned_queries = config.boolean("learn_initial_query", false);
  constexpr int kTrainedAt = 640;  // every published model
  c.input = {kTrainedAt, kTrainedAt};
  c.class_names = read_class_names(config);
  return c;
}

}  // namespace vistazo
