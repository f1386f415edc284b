#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/coco_labels.h"
#include "models/families.h"
#include "models/hgnet_v2_sizes.h"
#include "models/original_names.h"

// The checkpoints of RT-DETR's authors: .pth files without a config, whose sizes are those of
// github.com/lyuwenyu/RT-DETR. Those of RT-DETRv2 differ in a few names only.
namespace vistazo {
namespace {

using Json = nlohmann::json;

struct Size {
  std::string_view name;
  std::array<int, 4> depths;
  bool is_bottleneck;
  int encoder_dim, ffn_dim;
  double expansion;
  int decoder_layers, last_layer;  // the layer that answers: those behind it only help in training
  int points = 4;                  // of a head in a map
  bool takes_nearest = false;      // cells, in place of interpolating: the authors' "dsp"
  const HgnetSize* hgnet = nullptr;
  int encoder_layers = 1;
};

constexpr std::array<int, 4> k18{2, 2, 2, 2}, k34{3, 4, 6, 3}, k101{3, 4, 23, 3}, kNone{};

constexpr std::array<Size, 5> kSizes{{
    {"rtdetr-r18", k18, false, 256, 1024, 0.5, 3, 2},
    {"rtdetr-r34", k34, false, 256, 1024, 0.5, 4, 3},
    {"rtdetr-r50-m", k34, true, 256, 1024, 0.5, 6, 2},
    {"rtdetr-r50", k34, true, 256, 1024, 1.0, 6, 5},
    {"rtdetr-r101", k101, true, 384, 2048, 1.0, 6, 5},
}};

constexpr std::array<Size, 15> kV2Sizes{{
    {"rtdetrv2-r18", k18, false, 256, 1024, 0.5, 3, 2},
    {"rtdetrv2-r34", k34, false, 256, 1024, 0.5, 4, 3},
    {"rtdetrv2-r50-m", k34, true, 256, 1024, 0.5, 6, 2},
    {"rtdetrv2-r50", k34, true, 256, 1024, 1.0, 6, 5},
    {"rtdetrv2-r101", k101, true, 384, 2048, 1.0, 6, 5},
    {"rtdetrv2-r18-sp1", k18, false, 256, 1024, 0.5, 3, 2, 1},
    {"rtdetrv2-r18-sp2", k18, false, 256, 1024, 0.5, 3, 2, 2},
    {"rtdetrv2-r18-sp3", k18, false, 256, 1024, 0.5, 3, 2, 3},
    {"rtdetrv2-r18-dsp", k18, false, 256, 1024, 0.5, 3, 2, 4, true},
    {"rtdetrv2-r34-dsp", k34, false, 256, 1024, 0.5, 4, 3, 4, true},
    {"rtdetrv2-r50-m-dsp", k34, true, 256, 1024, 0.5, 6, 2, 4, true},
    {"rtdetrv2-r50-dsp", k34, true, 256, 1024, 1.0, 6, 5, 4, true},
    {"rtdetrv2-hgnetv2-l", kNone, false, 256, 1024, 1.0, 6, 5, 4, false, &kHgnetB4},
    {"rtdetrv2-hgnetv2-x", kNone, false, 384, 2048, 1.0, 6, 5, 4, false, &kHgnetB5},
    {"rtdetrv2-hgnetv2-h", kNone, false, 512, 2048, 1.0, 6, 5, 4, false, &kHgnetB6, 2},
}};

template <std::size_t N>
constexpr std::array<std::string_view, N> names_of(const std::array<Size, N>& sizes) {
  std::array<std::string_view, N> names;
  std::ranges::transform(sizes, names.begin(), &Size::name);
  return names;
}
constexpr auto kArchitectures = names_of(kSizes);
constexpr auto kV2Architectures = names_of(kV2Sizes);

// Both dialects. D-FINE's heads are called the same, but its cross-attention has no value projection.
bool is_rt_detr(const Checkpoint& checkpoint) {
  return checkpoint.find("decoder.decoder.layers.0.cross_attn.value_proj.weight") ||
         checkpoint.find("model.decoder.layers.0.encoder_attn.value_proj.weight");
}

bool is_v2(const Checkpoint& checkpoint) {
  return checkpoint.find("encoder.input_proj.0.conv.weight") ||
         checkpoint.find("model.decoder.layers.0.encoder_attn.n_points_scale");
}

bool recognises_v1(const Checkpoint& checkpoint) {
  return is_rt_detr(checkpoint) && !is_v2(checkpoint);
}

bool recognises_v2(const Checkpoint& checkpoint) {
  return is_rt_detr(checkpoint) && is_v2(checkpoint);
}

int class_count(const Checkpoint& checkpoint) {
  for (const char* name : {"decoder.enc_score_head.bias", "model.enc_score_head.bias"}) {
    const CheckpointTensor* bias = checkpoint.find(name);
    if (bias && bias->shape.size() == 1) return static_cast<int>(std::clamp<std::int64_t>(bias->shape[0], 1, 100'000));
  }
  return 80;
}

Json backbone_of(const Size& size) {
  if (size.hgnet) return hgnet_v2_json(*size.hgnet, {2, 3, 4});
  const int widen = size.is_bottleneck ? 4 : 1;
  std::vector<int> widths;
  for (const int width : {64, 128, 256, 512}) widths.push_back(width * widen);
  return {{"model_type", "rt_detr_resnet"},
          {"embedding_size", 64},
          {"hidden_sizes", widths},
          {"depths", size.depths},
          {"layer_type", size.is_bottleneck ? "bottleneck" : "basic"},
          {"out_indices", {2, 3, 4}}};
}

Json config_of(const Size& size, std::string_view model_type, int classes) {
  Json config{{"model_type", model_type},
              {"backbone_config", backbone_of(size)},
              {"encoder_hidden_dim", size.encoder_dim},
              {"encoder_ffn_dim", size.ffn_dim},
              {"encoder_layers", size.encoder_layers},
              {"hidden_expansion", size.expansion},
              {"decoder_in_channels", {size.encoder_dim, size.encoder_dim, size.encoder_dim}},
              {"decoder_layers", size.decoder_layers},
              {"decoder_n_points", size.points},
              {"eval_idx", size.last_layer},
              {"id2label", default_labels(classes)}};
  if (size.takes_nearest) config["decoder_method"] = "discrete";
  return config;
}

Json preprocessor() {
  return {{"image_processor_type", "RTDetrImageProcessor"},
          {"do_resize", true},
          {"size", {{"height", 640}, {"width", 640}}},
          {"resample", 2},
          {"do_rescale", true},
          {"rescale_factor", 1.0 / 255.0},
          {"do_normalize", false}};
}

Description describe_as(const Size& size, std::string_view model_type, const Checkpoint& checkpoint) {
  const std::string source = checkpoint.source() + " as " + std::string(size.name);
  return {std::string(size.name), ConfigReader(config_of(size, model_type, class_count(checkpoint)), source),
          ConfigReader(preprocessor(), source)};
}

Description describe_v1(std::string_view architecture, const Checkpoint& checkpoint, bool) {
  return describe_as(*std::ranges::find(kSizes, architecture, &Size::name), "rt_detr", checkpoint);
}

Description describe_v2(std::string_view architecture, const Checkpoint& checkpoint, bool) {
  return describe_as(*std::ranges::find(kV2Sizes, architecture, &Size::name), "rt_detr_v2", checkpoint);
}

constexpr std::array kResNet{
    NameRule{"conv1.conv1_1.conv.*", "embedder.embedder.0.convolution.*"},
    NameRule{"conv1.conv1_1.norm.*", "embedder.embedder.0.normalization.*"},
    NameRule{"conv1.conv1_2.conv.*", "embedder.embedder.1.convolution.*"},
    NameRule{"conv1.conv1_2.norm.*", "embedder.embedder.1.normalization.*"},
    NameRule{"conv1.conv1_3.conv.*", "embedder.embedder.2.convolution.*"},
    NameRule{"conv1.conv1_3.norm.*", "embedder.embedder.2.normalization.*"},
    NameRule{"res_layers.*.blocks.*.branch2a.conv.*", "encoder.stages.*.layers.*.layer.0.convolution.*"},
    NameRule{"res_layers.*.blocks.*.branch2a.norm.*", "encoder.stages.*.layers.*.layer.0.normalization.*"},
    NameRule{"res_layers.*.blocks.*.branch2b.conv.*", "encoder.stages.*.layers.*.layer.1.convolution.*"},
    NameRule{"res_layers.*.blocks.*.branch2b.norm.*", "encoder.stages.*.layers.*.layer.1.normalization.*"},
    NameRule{"res_layers.*.blocks.*.branch2c.conv.*", "encoder.stages.*.layers.*.layer.2.convolution.*"},
    NameRule{"res_layers.*.blocks.*.branch2c.norm.*", "encoder.stages.*.layers.*.layer.2.normalization.*"},
    NameRule{"res_layers.*.blocks.*.short.conv.conv.*", "encoder.stages.*.layers.*.shortcut.1.convolution.*"},
    NameRule{"res_layers.*.blocks.*.short.conv.norm.*", "encoder.stages.*.layers.*.shortcut.1.normalization.*"},
    NameRule{"res_layers.*.blocks.*.short.conv.*", "encoder.stages.*.layers.*.shortcut.convolution.*"},
    NameRule{"res_layers.*.blocks.*.short.norm.*", "encoder.stages.*.layers.*.shortcut.normalization.*"},
};

constexpr std::array kRest{
    NameRule{"encoder.input_proj.*.conv.*", "model.encoder_input_proj.*.0.*"},
    NameRule{"encoder.input_proj.*.norm.*", "model.encoder_input_proj.*.1.*"},
    NameRule{"encoder.input_proj.**", "model.encoder_input_proj.**"},
    NameRule{"decoder.input_proj.*.conv.*", "model.decoder_input_proj.*.0.*"},
    NameRule{"decoder.input_proj.*.norm.*", "model.decoder_input_proj.*.1.*"},
    NameRule{"decoder.input_proj.**", "model.decoder_input_proj.**"},
    NameRule{"encoder.lateral_convs.**", "model.encoder.lateral_convs.**"},
    NameRule{"encoder.downsample_convs.**", "model.encoder.downsample_convs.**"},
    NameRule{"encoder.fpn_blocks.**", "model.encoder.fpn_blocks.**"},
    NameRule{"encoder.pan_blocks.**", "model.encoder.pan_blocks.**"},
    NameRule{"decoder.decoder.layers.*.cross_attn.num_points_scale",
             "model.decoder.layers.*.encoder_attn.n_points_scale"},
};

TensorNames huggingface_names(const Checkpoint&, std::string_view name) {
  if (const auto inside = without("backbone.", name)) {
    if (inside->ends_with("num_batches_tracked")) return std::vector<std::string>();  // frozen in transformers
    const TensorNames names = rename(kResNet, *inside);
    return behind("model.backbone.model.", names ? names : hgnet_v2_names(*inside));
  }
  const TensorNames names = rename(kRest, name);
  return names ? names : rt_detr_names(name);
}

}  // namespace

const OriginalFiles kRtDetrFiles{.architectures = kArchitectures,
                                 .recognises = recognises_v1,
                                 .describe = describe_v1,
                                 .huggingface_names = huggingface_names};
const OriginalFiles kRtDetrV2Files{.architectures = kV2Architectures,
                                   .recognises = recognises_v2,
                                   .describe = describe_v2,
                                   .huggingface_names = huggingface_names};

}  // namespace vistazo
