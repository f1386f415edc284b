#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "models/coco_labels.h"
#include "models/families.h"

// RF-DETR's published checkpoints: .pth files without a config, whose sizes are those of github.com/roboflow/rf-detr.
namespace vistazo {
namespace {

using Json = nlohmann::json;

struct Size {
  std::string_view name;
  int resolution, patch, windows;  // windows: a side
  int position_side;               // of the stored grid of position embeddings
  int trunk_dim, trunk_heads;
  std::array<int, 4> stages;
  int decoder_layers, dim, self_heads, cross_heads, points;
  bool has_masks = false;
  bool has_p3_and_p5 = false;  // else the trunk's own scale, P4
};

constexpr std::array<int, 4> kStages{3, 6, 9, 12}, kBaseStages{2, 5, 8, 11};

constexpr std::array<Size, 15> kSizes{{
    {"rf-detr-nano", 384, 16, 2, 24, 384, 6, kStages, 2, 256, 8, 16, 2},
    {"rf-detr-small", 512, 16, 2, 32, 384, 6, kStages, 3, 256, 8, 16, 2},
    {"rf-detr-medium", 576, 16, 2, 36, 384, 6, kStages, 4, 256, 8, 16, 2},
    {"rf-detr-base", 560, 14, 4, 37, 384, 6, kBaseStages, 3, 256, 8, 16, 2},
    {"rf-detr-large", 704, 16, 2, 44, 384, 6, kStages, 4, 256, 8, 16, 2},
    {"rf-detr-large-2025", 560, 14, 4, 37, 768, 12, kBaseStages, 3, 384, 12, 24, 4, false, true},
    {"rf-detr-xlarge", 700, 20, 1, 35, 768, 12, kStages, 5, 512, 16, 32, 4},
    {"rf-detr-2xlarge", 880, 20, 2, 44, 768, 12, kStages, 5, 512, 16, 32, 4},
    {"rf-detr-seg-preview", 432, 12, 2, 36, 384, 6, kStages, 4, 256, 8, 16, 2, true},
    {"rf-detr-seg-nano", 312, 12, 1, 26, 384, 6, kStages, 4, 256, 8, 16, 2, true},
    {"rf-detr-seg-small", 384, 12, 2, 32, 384, 6, kStages, 4, 256, 8, 16, 2, true},
    {"rf-detr-seg-medium", 432, 12, 2, 36, 384, 6, kStages, 5, 256, 8, 16, 2, true},
    {"rf-detr-seg-large", 504, 12, 2, 42, 384, 6, kStages, 5, 256, 8, 16, 2, true},
    {"rf-detr-seg-xlarge", 624, 12, 2, 52, 384, 6, kStages, 6, 256, 8, 16, 2, true},
    {"rf-detr-seg-2xlarge", 768, 12, 2, 64, 384, 6, kStages, 6, 256, 8, 16, 2, true},
}};

constexpr auto kArchitectures = [] {
  std::array<std::string_view, kSizes.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kSizes[i].name;
  return names;
}();

// Of the first of these tensors that is there; 0 if none is, or it has fewer dimensions.
std::int64_t extent(const Checkpoint& checkpoint, std::initializer_list<std::string_view> names, std::size_t axis) {
  for (const std::string_view name : names) {
    const CheckpointTensor* tensor = checkpoint.find(name);
    if (tensor) return axis < tensor->shape.size() ? tensor->shape[axis] : 0;
  }
  return 0;
}

// The authors' names, Hugging Face's, and Hugging Face's of a model with masks.
bool recognises(const Checkpoint& checkpoint) {
  constexpr std::string_view kPositions = "embeddings.position_embeddings";
  for (const char* trunk :
       {"backbone.0.encoder.encoder.", "model.backbone.backbone.", "model.model.backbone.backbone."}) {
    if (checkpoint.find(std::string(trunk) + std::string(kPositions))) return true;
  }
  return false;
}

// A count out of a tensor's shape, as a config may hold it: what is absurd is left to the checks of the config.
int count_of(std::int64_t value) {
  return static_cast<int>(std::clamp<std::int64_t>(value, 1, 100'000));
}

int position_side(const Checkpoint& checkpoint) {
  const std::int64_t rows = extent(checkpoint,
                                   {"backbone.0.encoder.encoder.embeddings.position_embeddings",
                                    "model.backbone.backbone.embeddings.position_embeddings",
                                    "model.model.backbone.backbone.embeddings.position_embeddings"},
                                   1);
  return static_cast<int>(std::lround(std::sqrt(static_cast<double>(count_of(rows - 1)))));
}

Json config_of(const Size& size, const Checkpoint& checkpoint, int side) {
  constexpr int kTrainingGroups = 13;  // all published ones
  const int classes = count_of(extent(checkpoint, {"class_embed.bias", "model.class_embed.bias"}, 0));
  const int rows = count_of(
      extent(checkpoint, {"query_feat.weight", "model.query_feat.weight", "model.model.query_feat.weight"}, 0));
  const int groups = rows % kTrainingGroups == 0 ? kTrainingGroups : 1;
  Json config{{"model_type", "rf_detr"},
              {"architectures", {size.has_masks ? "RfDetrForInstanceSegmentation" : "RfDetrForObjectDetection"}},
              {"backbone_config",
               {{"model_type", "rf_detr_dinov2"},
                {"hidden_size", size.trunk_dim},
                {"num_attention_heads", size.trunk_heads},
                {"num_hidden_layers", 12},
                {"image_size", side * size.patch},
                {"patch_size", size.patch},
                {"num_windows", size.windows},
                {"out_indices", size.stages}}},
              {"d_model", size.dim},
              {"decoder_layers", size.decoder_layers},
              {"decoder_self_attention_heads", size.self_heads},
              {"decoder_cross_attention_heads", size.cross_heads},
              {"decoder_n_points", size.points},
              {"decoder_ffn_dim", 2048},
              {"decoder_activation_function", "relu"},
              {"c2f_num_blocks", 3},
              {"hidden_expansion", 0.5},
              {"activation_function", "silu"},
              {"num_queries", rows / groups},
              {"group_detr", groups},
              {"id2label", default_labels(classes)}};
  if (size.has_p3_and_p5) config["projector_scale_factors"] = {2.0, 0.5};
  return config;
}

Json preprocessor_of(int resolution) {
  return {{"image_processor_type", "RfDetrImageProcessor"},
          {"do_resize", true},
          {"size", {{"height", resolution}, {"width", resolution}}},
          {"resample", 2},
          {"do_rescale", true},
          {"rescale_factor", 1.0 / 255.0},
          {"do_normalize", true},
          {"image_mean", {0.485, 0.456, 0.406}},
          {"image_std", {0.229, 0.224, 0.225}}};
}

Description describe(std::string_view architecture, const Checkpoint& checkpoint, bool is_named) {
  const Size& size = *std::ranges::find(kSizes, architecture, &Size::name);
  // Training at another resolution changes the grid of position embeddings with it.
  const int side = is_named ? position_side(checkpoint) : size.position_side;
  const int multiple = size.patch * size.windows;
  const int resolution =
      side == size.position_side ? size.resolution : std::max(1, side * size.patch / multiple) * multiple;
  const std::string source = checkpoint.source() + " as " + std::string(architecture);
  return {std::string(architecture), ConfigReader(config_of(size, checkpoint, side), source),
          ConfigReader(preprocessor_of(resolution), source)};
}

// Hugging Face's names are those of RfDetrForObjectDetection's modules in transformers 5.17.
constexpr std::array kNames{
    NameRule{"backbone.0.encoder.encoder.**", "model.backbone.backbone.**"},
    NameRule{"transformer.decoder.layers.*.self_attn.in_proj_weight",
             "model.decoder.layers.*.self_attn.{q_proj,k_proj,v_proj}.weight"},
    NameRule{"transformer.decoder.layers.*.self_attn.in_proj_bias",
             "model.decoder.layers.*.self_attn.{q_proj,k_proj,v_proj}.bias"},
    NameRule{"transformer.decoder.layers.*.self_attn.out_proj.*", "model.decoder.layers.*.self_attn.o_proj.*"},
    NameRule{"transformer.decoder.layers.*.cross_attn.**", "model.decoder.layers.*.cross_attn.**"},
    NameRule{"transformer.decoder.layers.*.linear1.*", "model.decoder.layers.*.mlp.fc1.*"},
    NameRule{"transformer.decoder.layers.*.linear2.*", "model.decoder.layers.*.mlp.fc2.*"},
    NameRule{"transformer.decoder.layers.*.norm1.*", "model.decoder.layers.*.self_attn_layer_norm.*"},
    NameRule{"transformer.decoder.layers.*.norm2.*", "model.decoder.layers.*.cross_attn_layer_norm.*"},
    NameRule{"transformer.decoder.layers.*.norm3.*", "model.decoder.layers.*.layer_norm.*"},
    NameRule{"transformer.decoder.norm.*", "model.decoder.layernorm.*"},
    NameRule{"transformer.decoder.ref_point_head.**", "model.decoder.ref_point_head.**"},
    NameRule{"transformer.enc_output.**", "model.enc_output.**"},
    NameRule{"transformer.enc_output_norm.**", "model.enc_output_norm.**"},
    NameRule{"transformer.enc_out_class_embed.**", "model.enc_out_class_embed.**"},
    NameRule{"transformer.enc_out_bbox_embed.**", "model.enc_out_bbox_embed.**"},
    NameRule{"refpoint_embed.weight", "model.reference_point_embed.weight"},
    NameRule{"query_feat.weight", "model.query_feat.weight"},
    NameRule{"class_embed.*", "class_embed.*"},
    NameRule{"bbox_embed.**", "bbox_embed.**"},
};

// The projector of one level at the trunk's scale.
constexpr std::array kOneLevel{
    NameRule{"backbone.0.projector.stages.0.0.cv1.conv.*", "model.backbone.projector.projector_layer.conv1.conv.*"},
    NameRule{"backbone.0.projector.stages.0.0.cv1.bn.*", "model.backbone.projector.projector_layer.conv1.norm.*"},
    NameRule{"backbone.0.projector.stages.0.0.cv2.conv.*", "model.backbone.projector.projector_layer.conv2.conv.*"},
    NameRule{"backbone.0.projector.stages.0.0.cv2.bn.*", "model.backbone.projector.projector_layer.conv2.norm.*"},
    NameRule{"backbone.0.projector.stages.0.0.m.*.cv1.conv.*",
             "model.backbone.projector.projector_layer.bottlenecks.*.conv1.conv.*"},
    NameRule{"backbone.0.projector.stages.0.0.m.*.cv1.bn.*",
             "model.backbone.projector.projector_layer.bottlenecks.*.conv1.norm.*"},
    NameRule{"backbone.0.projector.stages.0.0.m.*.cv2.conv.*",
             "model.backbone.projector.projector_layer.bottlenecks.*.conv2.conv.*"},
    NameRule{"backbone.0.projector.stages.0.0.m.*.cv2.bn.*",
             "model.backbone.projector.projector_layer.bottlenecks.*.conv2.norm.*"},
    NameRule{"backbone.0.projector.stages.0.1.*", "model.backbone.projector.layer_norm.*"},
};

// Several levels, which RfDetrForObjectDetection lacks: called as LwDetrForObjectDetection's.
constexpr std::array kLevels{
    NameRule{"backbone.0.projector.stages.*.0.cv1.conv.*",
             "model.backbone.projector.scale_layers.*.projector_layer.conv1.conv.*"},
    NameRule{"backbone.0.projector.stages.*.0.cv1.bn.*",
             "model.backbone.projector.scale_layers.*.projector_layer.conv1.norm.*"},
    NameRule{"backbone.0.projector.stages.*.0.cv2.conv.*",
             "model.backbone.projector.scale_layers.*.projector_layer.conv2.conv.*"},
    NameRule{"backbone.0.projector.stages.*.0.cv2.bn.*",
             "model.backbone.projector.scale_layers.*.projector_layer.conv2.norm.*"},
    NameRule{"backbone.0.projector.stages.*.0.m.*.cv1.conv.*",
             "model.backbone.projector.scale_layers.*.projector_layer.bottlenecks.*.conv1.conv.*"},
    NameRule{"backbone.0.projector.stages.*.0.m.*.cv1.bn.*",
             "model.backbone.projector.scale_layers.*.projector_layer.bottlenecks.*.conv1.norm.*"},
    NameRule{"backbone.0.projector.stages.*.0.m.*.cv2.conv.*",
             "model.backbone.projector.scale_layers.*.projector_layer.bottlenecks.*.conv2.conv.*"},
    NameRule{"backbone.0.projector.stages.*.0.m.*.cv2.bn.*",
             "model.backbone.projector.scale_layers.*.projector_layer.bottlenecks.*.conv2.norm.*"},
    NameRule{"backbone.0.projector.stages.*.1.*", "model.backbone.projector.scale_layers.*.layer_norm.*"},
    NameRule{"backbone.0.projector.stages_sampling.*.*.*.conv.*",
             "model.backbone.projector.scale_layers.*.sampling_layers.*.layers.*.conv.*"},
    NameRule{"backbone.0.projector.stages_sampling.*.*.*.bn.*",
             "model.backbone.projector.scale_layers.*.sampling_layers.*.layers.*.norm.*"},
    NameRule{"backbone.0.projector.stages_sampling.*.*.*.*",
             "model.backbone.projector.scale_layers.*.sampling_layers.*.layers.*.*"},
};

// RfDetrForInstanceSegmentation, beside the detector in its "model.".
constexpr std::array kMasks{
    NameRule{"segmentation_head.bias", "segmentation_bias"},
    NameRule{"segmentation_head.blocks.*.dwconv.*", "blocks.*.depthwise_conv.*"},
    NameRule{"segmentation_head.blocks.*.norm.*", "blocks.*.layernorm.*"},
    NameRule{"segmentation_head.blocks.*.pwconv1.*", "blocks.*.pointwise_conv.*"},
    NameRule{"segmentation_head.query_features_block.layers.0.*", "query_features_block.mlp.fc1.*"},
    NameRule{"segmentation_head.query_features_block.layers.2.*", "query_features_block.mlp.fc2.*"},
    NameRule{"segmentation_head.query_features_block.norm_in.*", "query_features_block.norm.*"},
    NameRule{"segmentation_head.query_features_proj.*", "query_features_proj.*"},
    NameRule{"segmentation_head.spatial_features_proj.*", "spatial_features_proj.*"},
};

std::optional<std::vector<std::string>> huggingface_names(const Checkpoint& checkpoint, std::string_view name) {
  if (auto of_masks = rename(kMasks, name)) return of_masks;
  const bool is_single = !checkpoint.find("backbone.0.projector.stages.1.1.weight");
  auto names = rename(kNames, name);
  if (!names) names = is_single ? rename(kOneLevel, name) : rename(kLevels, name);
  if (names && checkpoint.find("segmentation_head.bias")) {
    for (std::string& n : *names) n.insert(0, "model.");
  }
  return names;
}

}  // namespace

const OriginalFiles kRfDetrFiles{.architectures = kArchitectures,
                                 .recognises = recognises,
                                 .describe = describe,
                                 .huggingface_names = huggingface_names};

}  // namespace vistazo
