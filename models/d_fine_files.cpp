#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "models/coco_labels.h"
#include "models/d_fine_names.h"
#include "models/families.h"
#include "models/hgnet_v2_sizes.h"

// Published checkpoints of D-FINE (github.com/Peterande/D-FINE), of DEIM and RT-DETRv4, which train the same graph with
// SiLU in its decoder (github.com/Intellindust-AI-Lab/DEIM, github.com/RT-DETRs/RT-DETRv4), and of DEIMv2
// (github.com/Intellindust-AI-Lab/DEIMv2): weights without a config. Names and shapes do not tell the first three
// apart.
namespace vistazo {
namespace {

using Json = nlohmann::json;

struct Vit {
  int dim, heads, mlp_dim;
  bool is_dinov3, has_gated_mlp;  // else one of DEIMv2's own small trunks
  std::array<int, 3> outputs;     // 1-based
  int adapter;
};

// What the sizes of all families differ in.
struct Size {
  std::string_view name;
  const HgnetSize* hgnet;
  std::vector<int> stages;  // 1-based
  int resolution = 640;
  int encoder_dim, encoder_ffn;
  double expansion, depth;
  int dim, ffn, layers;
  std::vector<int> points = {3, 6, 3};
  int queries = 300;
  bool has_silu = false;  // in the decoder and its heads
  Vit vit = {};
};

// The five graphs of D-FINE, by the activation of their decoders.
std::array<Size, 5> d_fine_sizes(const std::array<std::string_view, 5>& names, bool has_silu) {
  return {{
      {names[0], &kHgnetB0, {3, 4}, 640, 128, 512, 0.34, 0.5, 128, 512, 3, {6, 6}, 300, has_silu},
      {names[1], &kHgnetB0, {2, 3, 4}, 640, 256, 1024, 0.5, 0.34, 256, 1024, 3, {3, 6, 3}, 300, has_silu},
      {names[2], &kHgnetB2, {2, 3, 4}, 640, 256, 1024, 1.0, 0.67, 256, 1024, 4, {3, 6, 3}, 300, has_silu},
      {names[3], &kHgnetB4, {2, 3, 4}, 640, 256, 1024, 1.0, 1.0, 256, 1024, 6, {3, 6, 3}, 300, has_silu},
      {names[4], &kHgnetB5, {2, 3, 4}, 640, 384, 2048, 1.0, 1.0, 256, 1024, 6, {3, 6, 3}, 300, has_silu},
  }};
}

constexpr std::array<std::string_view, 5> kDFineNames{"d-fine-n", "d-fine-s", "d-fine-m", "d-fine-l", "d-fine-x"};
constexpr std::array<std::string_view, 5> kDeimNames{"deim-n", "deim-s", "deim-m", "deim-l", "deim-x"};
constexpr std::array<std::string_view, 5> kRtDetrV4Names{"", "rtdetrv4-s", "rtdetrv4-m", "rtdetrv4-l", "rtdetrv4-x"};
constexpr auto kDFineArchitectures = [] {
  std::array<std::string_view, 14> names;
  std::ranges::copy(kDFineNames, names.begin());
  std::ranges::copy(kDeimNames, names.begin() + 5);
  std::copy(kRtDetrV4Names.begin() + 1, kRtDetrV4Names.end(), names.begin() + 10);  // there is no N
  return names;
}();
constexpr std::array<std::string_view, 8> kDeimv2Architectures{
    "deimv2-atto", "deimv2-femto", "deimv2-pico", "deimv2-n", "deimv2-s", "deimv2-m", "deimv2-l", "deimv2-x"};

const Vit kTrunkS{192, 3, 768, false, false, {4, 8, 12}, 16};
const Vit kTrunkM{256, 4, 1024, false, false, {4, 8, 12}, 16};
const Vit kTrunkL{384, 6, 1536, true, false, {6, 9, 12}, 32};
const Vit kTrunkX{384, 6, 1536, true, true, {6, 9, 12}, 64};

std::array<Size, 8> deimv2_sizes() {
  const auto& n = kDeimv2Architectures;
  return {{
      {n[0], &kHgnetAtto, {3}, 320, 64, 0, 0.34, 0.5, 64, 160, 3, {4, 2}, 100, true},
      {n[1], &kHgnetFemto, {3}, 416, 96, 0, 0.34, 0.5, 96, 256, 3, {4, 2}, 150, true},
      {n[2], &kHgnetPico, {3}, 640, 112, 0, 0.34, 0.5, 112, 320, 3, {4, 2}, 200, true},
      {n[3], &kHgnetB0, {3, 4}, 640, 128, 512, 0.34, 0.5, 128, 512, 3, {6, 6}, 300, true},
      {n[4], nullptr, {}, 640, 192, 512, 0.34, 0.67, 192, 512, 4, {3, 6, 3}, 300, true, kTrunkS},
      {n[5], nullptr, {}, 640, 256, 512, 0.67, 1.0, 256, 512, 4, {3, 6, 3}, 300, true, kTrunkM},
      {n[6], nullptr, {}, 640, 224, 896, 1.0, 1.0, 224, 1792, 4, {3, 6, 3}, 300, true, kTrunkL},
      {n[7], nullptr, {}, 640, 256, 1024, 1.25, 1.37, 256, 2048, 6, {3, 6, 3}, 300, true, kTrunkX},
  }};
}

// --- configs -------------------------------------------------------------------------------------------------------

Json backbone_of(const Size& size) {
  if (!size.hgnet) {
    const Vit& v = size.vit;
    return {{"model_type", "dinov3_vit"},
            {"hidden_size", v.dim},
            {"num_attention_heads", v.heads},
            {"num_hidden_layers", 12},
            {"intermediate_size", v.mlp_dim},
            {"layer_norm_eps", v.is_dinov3 ? 1e-5 : 1e-6},
            {"num_register_tokens", v.is_dinov3 ? 4 : 0},
            {"use_gated_mlp", v.has_gated_mlp},
            {"hidden_act", v.has_gated_mlp ? "silu" : "gelu"},
            {"key_bias", !v.is_dinov3},
            {"apply_layernorm", v.is_dinov3},
            {"has_layer_scale", v.is_dinov3},
            {"has_final_norm", v.is_dinov3},
            {"out_indices", v.outputs}};
  }
  return hgnet_v2_json(*size.hgnet, size.stages);
}

int classes_of(const Checkpoint& checkpoint) {
  for (const char* name : {"decoder.enc_score_head.bias", "model.enc_score_head.bias"}) {
    const CheckpointTensor* tensor = checkpoint.find(name);
    if (tensor && tensor->shape.size() == 1) {
      return static_cast<int>(std::clamp<std::int64_t>(tensor->shape[0], 1, 100'000));
    }
  }
  return 1;
}

// Of the backbone's maps that the encoder takes.
std::vector<int> encoder_channels(const Size& size) {
  if (!size.hgnet) return std::vector<int>(size.vit.outputs.size(), size.encoder_dim);
  std::vector<int> channels;
  for (const int stage : size.stages) channels.push_back(size.hgnet->stages[static_cast<std::size_t>(stage) - 1].out);
  return channels;
}

// Of the levels that the decoder looks at: the last one halves the image five times.
std::vector<int> strides_of(const Size& size) {
  std::vector<int> strides;
  for (std::size_t i = size.points.size(); i > 0; --i) strides.push_back(64 >> i);
  return strides;
}

// The keys that both families have.
Json config_of(const Size& size, const Checkpoint& checkpoint) {
  const int levels = static_cast<int>(size.points.size());
  const char* activation = size.has_silu ? "silu" : "relu";
  return {{"backbone_config", backbone_of(size)},
          {"encoder_in_channels", encoder_channels(size)},
          {"feat_strides", strides_of(size)},
          {"encoder_hidden_dim", size.encoder_dim},
          {"encoder_ffn_dim", std::max(1, size.encoder_ffn)},
          {"encode_proj_layers", {levels - 1}},
          {"hidden_expansion", size.expansion},
          {"depth_mult", size.depth},
          {"d_model", size.dim},
          {"decoder_ffn_dim", size.ffn},
          {"decoder_layers", size.layers},
          {"decoder_n_points", size.points},
          {"num_feature_levels", levels},
          {"decoder_in_channels", std::vector<int>(size.points.size(), size.encoder_dim)},
          {"num_queries", size.queries},
          {"decoder_activation_function", activation},
          {"head_activation_function", activation},
          {"anchor_image_size", {size.resolution, size.resolution}},
          {"id2label", default_labels(classes_of(checkpoint))}};
}

Json preprocessor_of(const Size& size) {
  Json preprocessor{{"do_resize", true},
                    {"size", {{"height", size.resolution}, {"width", size.resolution}}},
                    {"resample", 2},
                    {"do_rescale", true},
                    {"rescale_factor", 1.0 / 255.0},
                    {"do_normalize", size.hgnet == nullptr}};
  if (!size.hgnet) {
    preprocessor["image_mean"] = {0.485, 0.456, 0.406};
    preprocessor["image_std"] = {0.229, 0.224, 0.225};
  }
  return preprocessor;
}

Description description_of(const Size& size, const Json& config, const Checkpoint& checkpoint) {
  const std::string source = checkpoint.source() + " as " + std::string(size.name);
  return {std::string(size.name), ConfigReader(config, source), ConfigReader(preprocessor_of(size), source)};
}

Description describe_d_fine(std::string_view architecture, const Checkpoint& checkpoint, bool) {
  const auto& names = architecture.starts_with("deim")       ? kDeimNames
                      : architecture.starts_with("rtdetrv4") ? kRtDetrV4Names
                                                             : kDFineNames;
  const auto sizes = d_fine_sizes(names, &names != &kDFineNames);
  const Size& size = *std::ranges::find(sizes, architecture, &Size::name);
  Json config = config_of(size, checkpoint);
  config["model_type"] = "d_fine";
  return description_of(size, config, checkpoint);
}

Description describe_deimv2(std::string_view architecture, const Checkpoint& checkpoint, bool) {
  const auto sizes = deimv2_sizes();
  const Size& size = *std::ranges::find(sizes, architecture, &Size::name);
  const bool is_lite = size.encoder_ffn == 0;
  Json config = config_of(size, checkpoint);
  config["model_type"] = "deimv2";
  config["encoder_type"] = is_lite ? "lite" : "hybrid";
  config["use_gateway"] = !is_lite;
  config["share_bbox_head"] = is_lite;
  config["encoder_has_trailing_conv"] = size.hgnet != nullptr;
  config["spatial_tuning_adapter_inplanes"] = std::max(1, size.vit.adapter);
  // The authors' graph, where transformers has another.
  config["use_encoder_output"] = false;
  config["fixed_query_positions"] = true;
  return description_of(size, config, checkpoint);
}

bool recognises_d_fine(const Checkpoint& checkpoint) {
  return checkpoint.find("decoder.decoder.layers.0.gateway.gate.weight") &&
         checkpoint.find("decoder.decoder.layers.0.linear1.weight");
}

bool recognises_deimv2(const Checkpoint& checkpoint) {
  return checkpoint.find("decoder.decoder.layers.0.swish_ffn.w12.weight");
}

}  // namespace

const OriginalFiles kDFineFiles{.architectures = kDFineArchitectures,
                                .recognises = recognises_d_fine,
                                .describe = describe_d_fine,
                                .huggingface_names = d_fine_huggingface_names};
const OriginalFiles kDeimv2Files{.architectures = kDeimv2Architectures,
                                 .recognises = recognises_deimv2,
                                 .describe = describe_deimv2,
                                 .huggingface_names = deimv2_huggingface_names};

}  // namespace vistazo
