#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <vector>

#include "engine/model.h"
#include "engine/ops.h"
#include "engine/weight_cursor.h"
#include "models/d_fine_config.h"
#include "models/families.h"
#include "models/hybrid_encoder.h"
#include "models/lite_encoder.h"

// D-FINE (Peng et al. 2024, arXiv:2410.13842), which DEIM and RT-DETRv4 train in other ways, and DEIMv2 (Huang et al.
// 2025, arXiv:2509.20787). References: transformers 5.17, DFineForObjectDetection and Deimv2ForObjectDetection, and the
// authors' own code for the authors' weights.
namespace vistazo {
namespace {

// What a checkpoint calls things.
struct Names {
  std::string_view dialect;
  std::string_view backbone, encoder;
  HgnetV2Names hgnet;
  std::string_view input_projections, decoder_projections;
  BatchNormNames projection;
  std::string_view attention;  // in front of the index of the attended map
  EncoderLayerNames encoder_layer;
  ElanPyramidNames pyramid;
  LiteEncoderNames lite;
  FdrNames decoder;
};

constexpr BatchNormNames kUnit{"conv", "norm"};
constexpr LiteEncoderNames kNoLite{};

constexpr FdrNames kDecoderDFine{.heads = "model.decoder",
                                 .layers = "model.decoder.layers",
                                 .quality = "model.decoder.lqe_layers",
                                 .proposals = "model",
                                 .memory_linear = "enc_output.0",
                                 .memory_norm = "enc_output.1",
                                 .box_heads = "model.decoder.bbox_embed",
                                 .class_heads = "model.decoder.class_embed",
                                 .self_out = "out_proj",
                                 .norm1 = "self_attn_layer_norm",
                                 .cross = "encoder_attn",
                                 .norm2 = "encoder_attn_layer_norm",
                                 .norm3 = "final_layer_norm",
                                 .fc1 = "fc1",
                                 .fc2 = "fc2",
                                 .swiglu_gate = "mlp.gate_proj",
                                 .swiglu_value = "mlp.up_proj",
                                 .swiglu_out = "mlp.down_proj",
                                 .rms_scale = "weight"};

constexpr FdrNames kDecoderDeimv2 = [] {
  FdrNames names = kDecoderDFine;
  names.self_out = "o_proj";
  return names;
}();

constexpr FdrNames kDecoderOriginal{.heads = "decoder",
                                    .layers = "decoder.decoder.layers",
                                    .quality = "decoder.decoder.lqe_layers",
                                    .proposals = "decoder",
                                    .memory_linear = "enc_output.proj",
                                    .memory_norm = "enc_output.norm",
                                    .box_heads = "decoder.dec_bbox_head",
                                    .class_heads = "decoder.dec_score_head",
                                    .self_out = "out_proj",
                                    .norm1 = "norm1",
                                    .cross = "cross_attn",
                                    .norm2 = "norm2",
                                    .norm3 = "norm3",
                                    .fc1 = "linear1",
                                    .fc2 = "linear2",
                                    .swiglu_gate = "swish_ffn.w12",
                                    .swiglu_value = "",
                                    .swiglu_out = "swish_ffn.w3",
                                    .rms_scale = "scale"};

constexpr Names kDFineHuggingFace{.dialect = "huggingface",
                                  .backbone = "model.backbone.model",
                                  .encoder = "model.encoder",
                                  .hgnet = kHgnetV2HuggingFace,
                                  .input_projections = "model.encoder_input_proj",
                                  .decoder_projections = "model.decoder_input_proj",
                                  .projection = {"0", "1"},
                                  .attention = "encoder",
                                  .encoder_layer = kEncoderLayerHuggingFace,
                                  .pyramid = {"", "conv1", "conv2", kElanDFine},
                                  .lite = kNoLite,
                                  .decoder = kDecoderDFine};

constexpr Names kDeimv2HuggingFace{
    .dialect = "huggingface",
    .backbone = "model.conv_encoder",
    .encoder = "model.encoder",
    .hgnet = kHgnetV2HuggingFace,
    .input_projections = "model.conv_encoder.encoder_input_proj",
    .decoder_projections = "model.decoder_input_proj",
    .projection = kUnit,
    .attention = "aifi",
    .encoder_layer = {"self_attn_layer_norm", "final_layer_norm", "mlp.layers.0", "mlp.layers.1", "o_proj"},
    .pyramid = {"", "conv1", "conv2", kElanDeimv2},
    .lite =
        {.down1 = "down_conv1", .down2 = "down_conv2", .global = "bi_fusion_conv", .down = kUnit, .elan = kElanDeimv2},
    .decoder = kDecoderDeimv2};

constexpr Names kOriginal{.dialect = "original",
                          .backbone = "backbone",
                          .encoder = "encoder",
                          .hgnet = kHgnetV2Original,
                          .input_projections = "encoder.input_proj",
                          .decoder_projections = "decoder.input_proj",
                          .projection = kUnit,
                          .attention = "encoder",
                          .encoder_layer = kEncoderLayerOriginal,
                          .pyramid = {"0.", "cv1", "cv2", kElanOriginal},
                          .lite = {.down1 = "down_sample1",
                                   .down2 = "down_sample2",
                                   .global = "bi_fusion.cv",
                                   .down = {"1", "2"},
                                   .elan = kElanOriginal},
                          .decoder = kDecoderOriginal};

class DFine final : public Model {
 public:
  DFine(std::string family, DFineConfig config, const Names& names, WeightReader& reader);

  const ModelTraits& traits() const override { return traits_; }
  Outputs forward(Ops& ops, const Tensor& pixels) const override;

 private:
  static constexpr std::size_t kMaxMaps = DeformableAttentionArgs::kMaxLevels;
  using Maps = std::array<Tensor, kMaxMaps>;

  void read_backbone(const WeightCursor& root, const Names& names);
  void read_encoder(const WeightCursor& root, const Names& names);
  void run_backbone(Ops& ops, const Tensor& pixels, std::span<Tensor> maps) const;
  void run_hybrid(Ops& ops, std::span<Tensor> maps) const;
  Tensor run_encoder(Ops& ops, const Tensor& pixels, std::span<GridSize> levels) const;
  void describe(std::string family, const Names& names, bool is_random);

  DFineConfig c_;
  ModelTraits traits_;
  HgnetV2 hgnet_;
  Dinov3 dinov3_;
  std::vector<ConvUnit> input_projections_, decoder_projections_;
  std::vector<std::vector<EncoderLayer>> attention_;  // of each attended map
  ElanPyramid pyramid_;
  LiteEncoder lite_;
  FdrDecoder decoder_;
};

ConvUnit read_projection(const WeightCursor& w, const BatchNormNames& names, int in, int out) {
  const ConvolutionShape shape{.in_channels = in, .out_channels = out, .kernel_height = 1, .kernel_width = 1};
  return read_conv_unit(w, names, shape, {});
}

DFine::DFine(std::string family, DFineConfig config, const Names& names, WeightReader& reader) : c_(std::move(config)) {
  const WeightCursor root(reader);
  read_backbone(root, names);
  read_encoder(root, names);
  decoder_ = read_fdr_decoder(root, names.decoder, c_.decoder);
  if (names.dialect == kDFineHuggingFace.dialect) {  // the same tensors once more
    root.ignore("class_embed.");
    root.ignore("bbox_embed.");
  }
  // What RT-DETRv4 learns from its teacher through; nobody else has it, and it has SiLU.
  if (c_.decoder.head_activation == Activation::silu) root.ignore("encoder.feature_projector.");
  describe(std::move(family), names, reader.is_random());
}

void DFine::read_backbone(const WeightCursor& root, const Names& names) {
  const WeightCursor backbone = root.child(names.backbone);
  if (c_.has_dinov3) {
    const bool is_huggingface = names.dialect == kDeimv2HuggingFace.dialect;
    const bool is_tiny = !c_.dinov3.has_layer_scale;
    const Dinov3Dialect dialect = is_huggingface ? Dinov3Dialect::huggingface
                                  : is_tiny      ? Dinov3Dialect::original_tiny
                                                 : Dinov3Dialect::original;
    dinov3_ = read_dinov3(backbone, dialect, c_.dinov3, c_.adapter_channels, c_.elan.dim);
  } else {
    const bool is_nested = names.backbone == kDeimv2HuggingFace.backbone;
    hgnet_ = read_hgnet_v2(is_nested ? backbone.child("model") : backbone, names.hgnet, c_.hgnet);
  }
}

void DFine::read_encoder(const WeightCursor& root, const Names& names) {
  const WeightCursor encoder = root.child(names.encoder);
  if (c_.has_lite_encoder) {
    lite_ = read_lite_encoder(encoder, names.lite, c_.elan, c_.backbone_channels[0]);
  } else {
    constexpr float kNormEps = 1e-5f;
    for (std::size_t i = 0; i < c_.backbone_channels.size() && c_.has_input_projection; ++i) {
      input_projections_.push_back(read_projection(root.child(fmt::format("{}.{}", names.input_projections, i)),
                                                   names.projection, c_.backbone_channels[i], c_.elan.dim));
    }
    for (std::size_t i = 0; i < c_.attended.size(); ++i) {
      std::vector<EncoderLayer>& layers = attention_.emplace_back();
      for (int j = 0; j < c_.encoder_layers; ++j) {
        layers.push_back(read_encoder_layer(encoder.child(fmt::format("{}.{}.layers.{}", names.attention, i, j)),
                                            names.encoder_layer, c_.elan.dim, c_.encoder_ffn_dim, kNormEps,
                                            c_.encoder_activation));
      }
    }
    pyramid_ = read_elan_pyramid(encoder, names.pyramid, c_.elan, c_.maps);
  }
  for (int i = 0; i < c_.maps && c_.has_decoder_projection; ++i) {
    decoder_projections_.push_back(read_projection(root.child(fmt::format("{}.{}", names.decoder_projections, i)),
                                                   names.projection, c_.elan.dim, c_.decoder.dim));
  }
}

void DFine::describe(std::string family, const Names& names, bool is_random) {
  traits_.family = std::move(family);
  traits_.dialect = is_random ? "random" : names.dialect;
  const std::string backbone = c_.has_dinov3 ? fmt::format("DINOv3 {} x {} ({} heads)", c_.dinov3.vit.layers,
                                                           c_.dinov3.vit.dim, c_.dinov3.vit.heads)
                                             : fmt::format("HGNetV2 of {} stages", c_.hgnet.stages.size());
  traits_.architecture = fmt::format("{}, {} encoder of {} maps x {}, decoder {} x {}, {} queries", backbone,
                                     c_.has_lite_encoder ? "lite" : "hybrid", c_.maps, c_.elan.dim, c_.decoder.layers,
                                     c_.decoder.dim, c_.decoder.queries);
  traits_.class_names = c_.class_names;
  traits_.input = {c_.input, c_.input};
  traits_.size_multiple = 32;
  traits_.queries = c_.decoder.queries;
  if (!c_.has_dinov3) return;
  constexpr float kImageNetMean[3] = {0.485f, 0.456f, 0.406f}, kImageNetStd[3] = {0.229f, 0.224f, 0.225f};
  std::ranges::copy(kImageNetMean, traits_.mean);
  std::ranges::copy(kImageNetStd, traits_.std);
}

// --- forward -------------------------------------------------------------------------------------------------------

void DFine::run_backbone(Ops& ops, const Tensor& pixels, std::span<Tensor> maps) const {
  c_.has_dinov3 ? run_dinov3(ops, dinov3_, pixels, maps) : run_hgnet_v2(ops, hgnet_, pixels, maps);
}

void DFine::run_hybrid(Ops& ops, std::span<Tensor> maps) const {
  for (std::size_t i = 0; i < input_projections_.size(); ++i) {
    maps[i] = run_conv_unit(ops, input_projections_[i], maps[i]);
  }
  for (std::size_t i = 0; i < attention_.size(); ++i) {
    Tensor& map = maps[static_cast<std::size_t>(c_.attended[i])];
    map = run_encoder_layers(ops, attention_[i], c_.encoder_heads, c_.temperature, map);
  }
  run_elan_pyramid(ops, pyramid_, maps);
}

// -> (B, sum of the levels' areas, D), dtype(): what the decoder looks at.
Tensor DFine::run_encoder(Ops& ops, const Tensor& pixels, std::span<GridSize> levels) const {
  Maps maps;
  const std::span encoded(maps.data(), levels.size());
  if (c_.has_lite_encoder) {
    Tensor map;
    run_backbone(ops, pixels, std::span(&map, 1));
    run_lite_encoder(ops, lite_, map, encoded);
  } else {
    run_backbone(ops, pixels, encoded);
    run_hybrid(ops, encoded);
  }
  for (std::size_t i = 0; i < levels.size(); ++i) {
    levels[i] = {static_cast<int>(maps[i].shape[1]), static_cast<int>(maps[i].shape[2])};
    if (c_.has_decoder_projection) maps[i] = run_conv_unit(ops, decoder_projections_[i], maps[i]);
  }
  return join_levels(ops, encoded);
}

Model::Outputs DFine::forward(Ops& ops, const Tensor& pixels) const {
  const GridSize input{static_cast<int>(pixels.shape[2]), static_cast<int>(pixels.shape[3])};
  const Tensor logits = ops.empty({pixels.shape[0], c_.decoder.queries, c_.decoder.classes}, DType::f32);
  const Tensor boxes = ops.empty({pixels.shape[0], c_.decoder.queries, 4}, DType::f32);
  const auto released = ops.scope();
  std::array<GridSize, kMaxMaps> sizes;
  const std::span levels(sizes.data(), static_cast<std::size_t>(c_.maps));
  const Tensor memory = run_encoder(ops, pixels, levels);
  const Outputs found = run_fdr_decoder(ops, decoder_, c_.decoder, memory, input, levels);
  ops.copy_into(found.logits, logits);
  ops.copy_into(found.boxes, boxes);
  return {logits, boxes};
}

bool is_original(const WeightReader& reader) {
  return reader.has_prefix("decoder.decoder.");
}

}  // namespace

std::unique_ptr<Model> make_d_fine(const ConfigReader& config, WeightReader& reader) {
  return std::make_unique<DFine>("d_fine", read_d_fine_config(config),
                                 is_original(reader) ? kOriginal : kDFineHuggingFace, reader);
}

std::unique_ptr<Model> make_deimv2(const ConfigReader& config, WeightReader& reader) {
  return std::make_unique<DFine>("deimv2", read_deimv2_config(config),
                                 is_original(reader) ? kOriginal : kDeimv2HuggingFace, reader);
}

}  // namespace vistazo
