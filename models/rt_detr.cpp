#include <fmt/format.h>

#include <array>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "engine/model.h"
#include "engine/ops.h"
#include "engine/weight_cursor.h"
#include "models/anchors.h"
#include "models/families.h"
#include "models/rt_detr_config.h"
#include "weights/config_reader.h"

// RT-DETR (Zhao et al. 2024, arXiv:2304.08069) and RT-DETRv2 (Lv et al. 2024, arXiv:2407.17140): a convolutional
// backbone, a hybrid encoder, two-stage queries and a deformable decoder whose every layer moves the boxes. Reference:
// transformers 5.17, RTDetrForObjectDetection and RTDetrV2ForObjectDetection.
namespace vistazo {
namespace {

// What a checkpoint calls things: as transformers does, or as the authors' own code does.
struct Names {
  std::string_view dialect;
  std::string_view backbone, encoder, encoder_projections;
  std::string_view decoder, memory_projections, heads;
  std::string_view class_heads, box_heads, position_head;
  std::string_view learned_queries;
  ResNetNames resnet;
  HgnetV2Names hgnet;
  EncoderLayerNames encoder_layer;
  DecoderLayerNames decoder_layer;
};

constexpr Names kHuggingFace{.dialect = "huggingface",
                             .backbone = "model.backbone.model",
                             .encoder = "model.encoder",
                             .encoder_projections = "model.encoder_input_proj",
                             .decoder = "model.decoder",
                             .memory_projections = "model.decoder_input_proj",
                             .heads = "model",
                             .class_heads = "model.decoder.class_embed",
                             .box_heads = "model.decoder.bbox_embed",
                             .position_head = "model.decoder.query_pos_head",
                             .learned_queries = "model.weight_embedding.weight",
                             .resnet = kResNetHuggingFace,
                             .hgnet = kHgnetV2HuggingFace,
                             .encoder_layer = kEncoderLayerHuggingFace,
                             .decoder_layer = {.self_out = "out_proj",
                                               .norm1 = "self_attn_layer_norm",
                                               .norm2 = "encoder_attn_layer_norm",
                                               .norm3 = "final_layer_norm",
                                               .fc1 = "fc1",
                                               .fc2 = "fc2",
                                               .cross = "encoder_attn"}};

constexpr Names kOriginal{.dialect = "original",
                          .backbone = "backbone",
                          .encoder = "encoder",
                          .encoder_projections = "encoder.input_proj",
                          .decoder = "decoder.decoder",
                          .memory_projections = "decoder.input_proj",
                          .heads = "decoder",
                          .class_heads = "decoder.dec_score_head",
                          .box_heads = "decoder.dec_bbox_head",
                          .position_head = "decoder.query_pos_head",
                          .learned_queries = "decoder.tgt_embed.weight",
                          .resnet = kResNetOriginal,
                          .hgnet = kHgnetV2Original,
                          .encoder_layer = kEncoderLayerOriginal,
                          .decoder_layer = {.self_out = "out_proj",
                                            .norm1 = "norm1",
                                            .norm2 = "norm2",
                                            .norm3 = "norm3",
                                            .fc1 = "linear1",
                                            .fc2 = "linear2"}};

using Backbone = std::variant<ResNet, HgnetV2>;

class RtDetr final : public Model {
 public:
  RtDetr(std::string_view family, RtDetrConfig config, const Names& names, WeightReader& reader);

  const ModelTraits& traits() const override { return traits_; }
  Outputs forward(Ops& ops, const Tensor& pixels) const override;

 private:
  // The queries that the decoder begins with.
  struct Queries {
    Tensor content;     // (B, Q, D) f32
    Tensor references;  // (B, Q, 4) f32
  };

  Tensor encode(Ops& ops, const Tensor& pixels, std::span<GridSize> levels) const;
  void select_queries(Ops& ops, const Tensor& memory, GridSize input, std::span<const GridSize> levels,
                      const Queries& queries) const;
  void decode(Ops& ops, const Queries& queries, const Tensor& values, std::span<const GridSize> levels,
              const Outputs& outputs) const;

  void read_heads(const WeightCursor& root, const Names& names);
  void ignore_training_weights(const WeightCursor& root, const Names& names) const;
  void describe(std::string_view family, std::string_view dialect);

  RtDetrConfig c_;
  ModelTraits traits_;
  Backbone backbone_;
  HybridEncoder encoder_;
  std::vector<ConvUnit> memory_projections_;
  Linear proposal_feature_, proposal_class_;
  Norm proposal_norm_;
  Mlp proposal_box_;
  Tensor learned_queries_;
  std::vector<DecoderLayer> layers_;
  Linear values_;
  Mlp position_head_;
  Linear class_head_;
  std::vector<Mlp> box_heads_;
};

// --- reading -------------------------------------------------------------------------------------------------------

Backbone read_backbone(const WeightCursor& w, const Names& names, const RtDetrConfig& c) {
  if (const auto* config = std::get_if<HgnetV2Config>(&c.backbone)) return read_hgnet_v2(w, names.hgnet, *config);
  return read_resnet(w, names.resnet, std::get<ResNetConfig>(c.backbone));
}

RtDetr::RtDetr(std::string_view family, RtDetrConfig config, const Names& names, WeightReader& reader)
    : c_(std::move(config)) {
  const WeightCursor root(reader);
  const DecoderConfig& d = c_.decoder;
  backbone_ = read_backbone(root.child(names.backbone), names, c_);
  encoder_ = read_hybrid_encoder(root.child(names.encoder), root.child(names.encoder_projections), names.encoder_layer,
                                 c_.encoder);
  for (int i = 0; i < d.levels; ++i) {
    const WeightCursor w = root.child(fmt::format("{}.{}", names.memory_projections, i));
    const BatchNormNames dialect = w.has("conv.weight") ? BatchNormNames{"conv", "norm"} : BatchNormNames{"0", "1"};
    memory_projections_.push_back(
        read_conv_unit(w, dialect, {c_.encoder.dim, d.dim, 1, 1}, {}, c_.encoder.batch_norm_eps));
  }
  const WeightCursor decoder = root.child(names.decoder);
  for (int i = 0; i < d.layers; ++i) {
    layers_.push_back(read_decoder_layer(decoder.child(fmt::format("layers.{}", i)), names.decoder_layer, d));
  }
  values_ = read_decoder_values(decoder, names.decoder_layer, d);
  read_heads(root, names);
  ignore_training_weights(root, names);
  describe(family, reader.is_random() ? "random" : names.dialect);
}

void RtDetr::read_heads(const WeightCursor& root, const Names& names) {
  const int dim = c_.decoder.dim;
  const WeightCursor heads = root.child(names.heads);
  const bool has_named_parts = heads.has("enc_output.proj.weight");  // RT-DETRv2's own code
  proposal_feature_ = heads.linear(has_named_parts ? "enc_output.proj" : "enc_output.0", dim, dim);
  proposal_norm_ = heads.norm(has_named_parts ? "enc_output.norm" : "enc_output.1", dim, c_.decoder.norm_eps);
  proposal_class_ = heads.linear("enc_score_head", dim, c_.classes());
  proposal_box_ = read_mlp(heads.child("enc_bbox_head"), dim, dim, 4, 3);
  if (c_.has_learned_queries) {
    learned_queries_ = root.store().table(root.floats(names.learned_queries, {c_.queries, dim}), {c_.queries, dim});
  }
  position_head_ = read_mlp(root.child(names.position_head), 4, 2 * dim, dim, 2);
  for (int i = 0; i < c_.decoder.layers; ++i) {
    box_heads_.push_back(read_mlp(root.child(fmt::format("{}.{}", names.box_heads, i)), dim, dim, 4, 3));
  }
  class_head_ = root.linear(fmt::format("{}.{}", names.class_heads, c_.decoder.layers - 1), dim, c_.classes());
}

void RtDetr::ignore_training_weights(const WeightCursor& root, const Names& names) const {
  root.ignore(fmt::format("{}.", names.class_heads));  // of all layers but the last
  for (int i = c_.decoder.layers; i < c_.trained_layers; ++i) {
    root.ignore(fmt::format("{}.layers.{}.", names.decoder, i));
    root.ignore(fmt::format("{}.{}.", names.box_heads, i));
  }
  const WeightCursor heads = root.child(names.heads);
  for (const char* part : {"denoising_class_embed.", "anchors", "valid_mask"}) heads.ignore(part);
  // The same tensors once more, in files that keep both names of a shared one.
  for (const char* part : {"class_embed.", "bbox_embed."}) root.ignore(part);
  for (int i = 0; i < c_.decoder.layers; ++i) {  // a table of 1 / points
    for (const char* table : {"n_points_scale", "num_points_scale"}) {
      root.ignore(fmt::format("{}.layers.{}.{}.{}", names.decoder, i, names.decoder_layer.cross, table));
    }
  }
}

void RtDetr::describe(std::string_view family, std::string_view dialect) {
  const auto* resnet = std::get_if<ResNetConfig>(&c_.backbone);
  int layers = 0;
  if (resnet) {
    for (const ResNetConfig::Stage& stage : resnet->stages) layers += stage.layers * (resnet->is_bottleneck ? 3 : 2);
  }
  traits_.family = family;
  traits_.dialect = dialect;
  traits_.architecture = fmt::format("{}, encoder {}, {} level(s), decoder {} x {}, {} queries",
                                     resnet ? fmt::format("ResNet{}-vd", layers + 2) : "HGNetV2", c_.encoder.dim,
                                     c_.decoder.levels, c_.decoder.layers, c_.decoder.dim, c_.queries);
  traits_.class_names = c_.class_names;
  traits_.input = c_.input;
  traits_.size_multiple = 32;  // each map half as high and wide as the one before
  traits_.queries = c_.queries;
}

// --- forward -------------------------------------------------------------------------------------------------------

// The image b of a map (B, H, W, C), as a map of one image.
Tensor image_of(const Tensor& map, std::int64_t b) {
  const Shape one{1, map.shape[1], map.shape[2], map.shape[3]};
  auto* data = static_cast<std::byte*>(map.data) + static_cast<std::size_t>(b * one.elements()) * size_of(map.dtype);
  return {data, one, map.dtype, map.shape.last()};
}

// Rows first .. first + area of tokens (..., C), as a map of one image.
Tensor map_of(const Tensor& tokens, std::int64_t first, GridSize size) {
  const auto offset = static_cast<std::size_t>(first * tokens.shape.last()) * size_of(tokens.dtype);
  return {static_cast<std::byte*>(tokens.data) + offset,
          {1, size.height, size.width, tokens.shape.last()},
          tokens.dtype,
          tokens.shape.last()};
}

// -> (B, sum of areas, D), dtype(): the levels one after the other.
Tensor RtDetr::encode(Ops& ops, const Tensor& pixels, std::span<GridSize> levels) const {
  std::array<Tensor, DeformableAttentionArgs::kMaxLevels> feature_array, map_array;
  const std::span<Tensor> features(feature_array.data(), levels.size()), maps(map_array.data(), levels.size());
  if (const auto* net = std::get_if<HgnetV2>(&backbone_)) {
    run_hgnet_v2(ops, *net, pixels, features);
  } else {
    run_resnet(ops, std::get<ResNet>(backbone_), pixels, features);
  }
  run_hybrid_encoder(ops, encoder_, features, maps);
  std::int64_t area = 0;
  for (std::size_t l = 0; l < levels.size(); ++l) {
    levels[l] = {static_cast<int>(maps[l].shape[1]), static_cast<int>(maps[l].shape[2])};
    area += levels[l].area();
  }
  const std::int64_t batch = pixels.shape[0];
  Tensor memory = ops.empty({batch, area, c_.decoder.dim}, ops.dtype());
  std::int64_t begin = 0;
  for (std::size_t l = 0; l < levels.size(); ++l) {
    for (std::int64_t b = 0; b < batch; ++b) {
      run_conv_unit_into(ops, memory_projections_[l], image_of(maps[l], b),
                         map_of(memory, b * area + begin, levels[l]));
    }
    begin += levels[l].area();
  }
  return memory;
}

// The first stage: every cell proposes a box, the best become the queries. Clears the cells of invalid anchors in
// memory, which nobody reads after.
void RtDetr::select_queries(Ops& ops, const Tensor& memory, GridSize input, std::span<const GridSize> levels,
                            const Queries& queries) const {
  const std::int64_t cells = memory.shape[1];
  const Tensor anchors =
      ops.constant("anchors", input, {cells, 4}, [&](std::span<float> values) { fill_anchor_logits(levels, values); });
  const Tensor mask =
      ops.constant("anchor mask", input, {cells}, [&](std::span<float> values) { fill_anchor_mask(levels, values); });
  const auto released = ops.scope();
  ops.mask_rows(memory, mask);
  const Tensor objects = ops.layer_norm(ops.linear(memory, proposal_feature_), proposal_norm_);
  const Tensor index = ops.top_rows(ops.linear_f32(objects, proposal_class_), c_.queries);
  const Tensor chosen = ops.gather_rows(objects, index);
  // Only the chosen ones need a box.
  const Tensor deltas = run_mlp_f32(ops, proposal_box_, chosen);
  ops.copy_into(ops.logit_boxes(ops.gather_rows(anchors, index), deltas, true), queries.references);
  if (c_.has_learned_queries) {
    ops.copy_into(ops.repeat(learned_queries_, static_cast<int>(memory.shape[0])), queries.content);
  } else {
    ops.copy_into(chosen, queries.content);
  }
}

// Every layer looks around the boxes of the one before and moves them. Both of `queries` are updated in place.
void RtDetr::decode(Ops& ops, const Queries& queries, const Tensor& values, std::span<const GridSize> levels,
                    const Outputs& outputs) const {
  const int dim = c_.decoder.dim, last = c_.decoder.layers - 1;
  for (int i = 0; i <= last; ++i) {
    const auto released = ops.scope();
    const auto layer = static_cast<std::size_t>(i);
    const Tensor position = run_mlp(ops, position_head_, ops.cast(queries.references, ops.dtype()));
    run_decoder_layer(ops, layers_[layer], c_.decoder, queries.content, position, queries.references,
                      values.columns(i * dim, (i + 1) * dim), levels);
    const Tensor found = ops.cast(queries.content, ops.dtype());
    const Tensor boxes = ops.logit_boxes(queries.references, run_mlp_f32(ops, box_heads_[layer], found));
    ops.copy_into(boxes, i == last ? outputs.boxes : queries.references);
    if (i == last) ops.copy_into(ops.linear_f32(found, class_head_), outputs.logits);
  }
}

Model::Outputs RtDetr::forward(Ops& ops, const Tensor& pixels) const {
  const std::int64_t batch = pixels.shape[0];
  const GridSize input{static_cast<int>(pixels.shape[2]), static_cast<int>(pixels.shape[3])};
  const Outputs outputs{ops.empty({batch, c_.queries, c_.classes()}, DType::f32),
                        ops.empty({batch, c_.queries, 4}, DType::f32)};
  const auto released = ops.scope();
  std::array<GridSize, DeformableAttentionArgs::kMaxLevels> level_sizes;
  const std::span levels(level_sizes.data(), static_cast<std::size_t>(c_.decoder.levels));
  const Tensor memory = encode(ops, pixels, levels);
  const Tensor values = ops.linear(memory, values_);
  const Queries queries{ops.empty({batch, c_.queries, c_.decoder.dim}, DType::f32),
                        ops.empty({batch, c_.queries, 4}, DType::f32)};
  select_queries(ops, memory, input, levels, queries);
  decode(ops, queries, values, levels, outputs);
  return outputs;
}

std::unique_ptr<Model> make(std::string_view family, const ConfigReader& config, WeightReader& reader) {
  const bool is_original = reader.has_prefix("decoder.dec_score_head.");
  return std::make_unique<RtDetr>(family, read_rt_detr_config(config), is_original ? kOriginal : kHuggingFace, reader);
}

}  // namespace

std::unique_ptr<Model> make_rt_detr(const ConfigReader& config, WeightReader& reader) {
  return make("rt_detr", config, reader);
}

std::unique_ptr<Model> make_rt_detr_v2(const ConfigReader& config, WeightReader& reader) {
  return make("rt_detr_v2", config, reader);
}

}  // namespace vistazo
