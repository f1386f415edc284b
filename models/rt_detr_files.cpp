#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/coco_labels.h"
#include "models/families.h"

// The checkpoints of RT-DETR's authors: .pth files without a config, whose sizes are those of
// github.com/lyuwenyu/RT-DETR. Those of RT-DETRv2 differ in a few names only.
namespace vistazo {
namespace {

using Json = nlohmann::json;

struct Size {
  std::string_view name, v2_name;
  std::array<int, 4> depths;
  bool is_bottleneck;
  int encoder_dim, ffn_dim;
  double expansion;
  int decoder_layers, last_layer;  // the layer that answers: those behind it only help in training
};

constexpr std::array<Size, 5> kSizes{{
    {"rtdetr-r18", "rtdetrv2-r18", {2, 2, 2, 2}, false, 256, 1024, 0.5, 3, 2},
    {"rtdetr-r34", "rtdetrv2-r34", {3, 4, 6, 3}, false, 256, 1024, 0.5, 4, 3},
    {"rtdetr-r50-m", "rtdetrv2-r50-m", {3, 4, 6, 3}, true, 256, 1024, 0.5, 6, 2},
    {"rtdetr-r50", "rtdetrv2-r50", {3, 4, 6, 3}, true, 256, 1024, 1.0, 6, 5},
    {"rtdetr-r101", "rtdetrv2-r101", {3, 4, 23, 3}, true, 384, 2048, 1.0, 6, 5},
}};

constexpr auto names_of(std::string_view Size::*name) {
  std::array<std::string_view, kSizes.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kSizes[i].*name;
  return names;
}
constexpr auto kArchitectures = names_of(&Size::name), kV2Architectures = names_of(&Size::v2_name);

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

Json config_of(const Size& size, std::string_view model_type, int classes) {
  const int widen = size.is_bottleneck ? 4 : 1;
  std::vector<int> widths;
  for (const int width : {64, 128, 256, 512}) widths.push_back(width * widen);
  return {{"model_type", model_type},
          {"backbone_config",
           {{"model_type", "rt_detr_resnet"},
            {"embedding_size", 64},
            {"hidden_sizes", widths},
            {"depths", size.depths},
            {"layer_type", size.is_bottleneck ? "bottleneck" : "basic"},
            {"out_indices", {2, 3, 4}}}},
          {"encoder_hidden_dim", size.encoder_dim},
          {"encoder_ffn_dim", size.ffn_dim},
          {"hidden_expansion", size.expansion},
          {"decoder_in_channels", {size.encoder_dim, size.encoder_dim, size.encoder_dim}},
          {"decoder_layers", size.decoder_layers},
          {"eval_idx", size.last_layer},
          {"id2label", default_labels(classes)}};
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

Description describe_as(std::string_view architecture, std::string_view model_type, std::string_view Size::*name,
                        const Checkpoint& checkpoint) {
  const Size& size = *std::ranges::find(kSizes, architecture, name);
  const std::string source = checkpoint.source() + " as " + std::string(architecture);
  return {std::string(architecture), ConfigReader(config_of(size, model_type, class_count(checkpoint)), source),
          ConfigReader(preprocessor(), source)};
}

Description describe_v1(std::string_view architecture, const Checkpoint& checkpoint, bool) {
  return describe_as(architecture, "rt_detr", &Size::name, checkpoint);
}

Description describe_v2(std::string_view architecture, const Checkpoint& checkpoint, bool) {
  return describe_as(architecture, "rt_detr_v2", &Size::v2_name, checkpoint);
}

// Hugging Face's names are those of the files that it publishes, which transformers 5.17 renames as it reads them.
constexpr std::array kNames{
    NameRule{"backbone.conv1.conv1_1.conv.*", "model.backbone.model.embedder.embedder.0.convolution.*"},
    NameRule{"backbone.conv1.conv1_1.norm.*", "model.backbone.model.embedder.embedder.0.normalization.*"},
    NameRule{"backbone.conv1.conv1_2.conv.*", "model.backbone.model.embedder.embedder.1.convolution.*"},
    NameRule{"backbone.conv1.conv1_2.norm.*", "model.backbone.model.embedder.embedder.1.normalization.*"},
    NameRule{"backbone.conv1.conv1_3.conv.*", "model.backbone.model.embedder.embedder.2.convolution.*"},
    NameRule{"backbone.conv1.conv1_3.norm.*", "model.backbone.model.embedder.embedder.2.normalization.*"},
    NameRule{"backbone.res_layers.*.blocks.*.branch2a.conv.*",
             "model.backbone.model.encoder.stages.*.layers.*.layer.0.convolution.*"},
    NameRule{"backbone.res_layers.*.blocks.*.branch2a.norm.*",
             "model.backbone.model.encoder.stages.*.layers.*.layer.0.normalization.*"},
    NameRule{"backbone.res_layers.*.blocks.*.branch2b.conv.*",
             "model.backbone.model.encoder.stages.*.layers.*.layer.1.convolution.*"},
    NameRule{"backbone.res_layers.*.blocks.*.branch2b.norm.*",
             "model.backbone.model.encoder.stages.*.layers.*.layer.1.normalization.*"},
    NameRule{"backbone.res_layers.*.blocks.*.branch2c.conv.*",
             "model.backbone.model.encoder.stages.*.layers.*.layer.2.convolution.*"},
    NameRule{"backbone.res_layers.*.blocks.*.branch2c.norm.*",
             "model.backbone.model.encoder.stages.*.layers.*.layer.2.normalization.*"},
    NameRule{"backbone.res_layers.*.blocks.*.short.conv.conv.*",
             "model.backbone.model.encoder.stages.*.layers.*.shortcut.1.convolution.*"},
    NameRule{"backbone.res_layers.*.blocks.*.short.conv.norm.*",
             "model.backbone.model.encoder.stages.*.layers.*.shortcut.1.normalization.*"},
    NameRule{"backbone.res_layers.*.blocks.*.short.conv.*",
             "model.backbone.model.encoder.stages.*.layers.*.shortcut.convolution.*"},
    NameRule{"backbone.res_layers.*.blocks.*.short.norm.*",
             "model.backbone.model.encoder.stages.*.layers.*.shortcut.normalization.*"},
    NameRule{"encoder.input_proj.*.conv.*", "model.encoder_input_proj.*.0.*"},
    NameRule{"encoder.input_proj.*.norm.*", "model.encoder_input_proj.*.1.*"},
    NameRule{"encoder.input_proj.**", "model.encoder_input_proj.**"},
    NameRule{"encoder.encoder.*.layers.*.self_attn.in_proj_weight",
             "model.encoder.encoder.*.layers.*.self_attn.{q_proj,k_proj,v_proj}.weight"},
    NameRule{"encoder.encoder.*.layers.*.self_attn.in_proj_bias",
             "model.encoder.encoder.*.layers.*.self_attn.{q_proj,k_proj,v_proj}.bias"},
    NameRule{"encoder.encoder.*.layers.*.linear1.*", "model.encoder.encoder.*.layers.*.fc1.*"},
    NameRule{"encoder.encoder.*.layers.*.linear2.*", "model.encoder.encoder.*.layers.*.fc2.*"},
    NameRule{"encoder.encoder.*.layers.*.norm1.*", "model.encoder.encoder.*.layers.*.self_attn_layer_norm.*"},
    NameRule{"encoder.encoder.*.layers.*.norm2.*", "model.encoder.encoder.*.layers.*.final_layer_norm.*"},
    NameRule{"encoder.**", "model.encoder.**"},
    NameRule{"decoder.input_proj.*.conv.*", "model.decoder_input_proj.*.0.*"},
    NameRule{"decoder.input_proj.*.norm.*", "model.decoder_input_proj.*.1.*"},
    NameRule{"decoder.decoder.layers.*.self_attn.in_proj_weight",
             "model.decoder.layers.*.self_attn.{q_proj,k_proj,v_proj}.weight"},
    NameRule{"decoder.decoder.layers.*.self_attn.in_proj_bias",
             "model.decoder.layers.*.self_attn.{q_proj,k_proj,v_proj}.bias"},
    NameRule{"decoder.decoder.layers.*.self_attn.out_proj.*", "model.decoder.layers.*.self_attn.out_proj.*"},
    NameRule{"decoder.decoder.layers.*.cross_attn.num_points_scale",
             "model.decoder.layers.*.encoder_attn.n_points_scale"},
    NameRule{"decoder.decoder.layers.*.cross_attn.**", "model.decoder.layers.*.encoder_attn.**"},
    NameRule{"decoder.decoder.layers.*.linear1.*", "model.decoder.layers.*.fc1.*"},
    NameRule{"decoder.decoder.layers.*.linear2.*", "model.decoder.layers.*.fc2.*"},
    NameRule{"decoder.decoder.layers.*.norm1.*", "model.decoder.layers.*.self_attn_layer_norm.*"},
    NameRule{"decoder.decoder.layers.*.norm2.*", "model.decoder.layers.*.encoder_attn_layer_norm.*"},
    NameRule{"decoder.decoder.layers.*.norm3.*", "model.decoder.layers.*.final_layer_norm.*"},
    NameRule{"decoder.dec_score_head.**", "model.decoder.class_embed.**"},
    NameRule{"decoder.dec_bbox_head.**", "model.decoder.bbox_embed.**"},
    NameRule{"decoder.query_pos_head.**", "model.decoder.query_pos_head.**"},
    NameRule{"decoder.tgt_embed.weight", "model.weight_embedding.weight"},
    NameRule{"decoder.enc_output.proj.*", "model.enc_output.0.*"},
    NameRule{"decoder.enc_output.norm.*", "model.enc_output.1.*"},
    NameRule{"decoder.anchors", ""},
    NameRule{"decoder.valid_mask", ""},
    NameRule{"decoder.**", "model.**"},
};

std::optional<std::vector<std::string>> huggingface_names(const Checkpoint&, std::string_view name) {
  return rename(kNames, name);
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
