#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "engine/model.h"
#include "engine/ops.h"
#include "engine/weight_cursor.h"
#include "kernels/base/error.h"
#include "kernels/grid_resize.h"
#include "models/conv_blocks.h"
#include "models/deformable_decoder.h"
#include "models/families.h"
#include "models/rf_detr_config.h"
#include "models/vit.h"
#include "weights/config_reader.h"

// RF-DETR (Robinson et al. 2025, arXiv:2511.09554): a DINOv2 trunk with windowed attention, a C2f projector over
// several of its layers, two-stage queries and a deformable decoder whose references are refined once. Reference:
// transformers 5.17, RfDetrForObjectDetection; the detection outputs of RfDetrForInstanceSegmentation are the same.
namespace vistazo {
namespace {

// What a checkpoint calls things: as transformers does, or as the authors' own code does.
struct Names {
  std::string_view dialect;
  std::string_view trunk, projector, decoder, proposals, reference_points, query_features;
  std::string_view decoder_norm;
  ConvBlockNames conv;
  DecoderLayerNames layer;
};

constexpr Names kHuggingFace{.dialect = "huggingface",
                             .trunk = "model.backbone.backbone",
                             .projector = "model.backbone.projector",
                             .decoder = "model.decoder",
                             .proposals = "model",
                             .reference_points = "model.reference_point_embed.weight",
                             .query_features = "model.query_feat.weight",
                             .decoder_norm = "layernorm",
                             .conv = {.conv1 = "conv1", .conv2 = "conv2", .blocks = "bottlenecks", .norm = "norm"},
                             .layer = {.self_out = "o_proj",
                                       .norm1 = "self_attn_layer_norm",
                                       .norm2 = "cross_attn_layer_norm",
                                       .norm3 = "layer_norm",
                                       .fc1 = "mlp.fc1",
                                       .fc2 = "mlp.fc2"}};

constexpr Names kOriginal{.dialect = "original",
                          .trunk = "backbone.0.encoder.encoder",
                          .projector = "backbone.0.projector",
                          .decoder = "transformer.decoder",
                          .proposals = "transformer",
                          .reference_points = "refpoint_embed.weight",
                          .query_features = "query_feat.weight",
                          .decoder_norm = "norm",
                          .conv = {.conv1 = "cv1", .conv2 = "cv2", .blocks = "m", .norm = "bn"},
                          .layer = {.self_out = "out_proj",
                                    .norm1 = "norm1",
                                    .norm2 = "norm2",
                                    .norm3 = "norm3",
                                    .fc1 = "linear1",
                                    .fc2 = "linear2"}};

// One level of the projector: every feature map is brought to the level's scale, then all go through a C2f.
struct ProjectorLevel {
  std::vector<Linear> upsamples;  // scale 2, one a feature map: transposed convolutions, as products into (2, 2, out)
  std::vector<ConvNorm> downsamples;  // scale 1/2, likewise
  C2f c2f;
  Norm norm;
};

GridSize level_size(GridSize grid, double scale) {
  if (scale == 2.0) return {2 * grid.height, 2 * grid.width};
  if (scale == 0.5) return {(grid.height + 1) / 2, (grid.width + 1) / 2};
  return grid;
}

class RfDetr final : public Model {
 public:
  RfDetr(RfDetrConfig config, const Names& names, WeightReader& reader);

  const ModelTraits& traits() const override { return traits_; }
  Outputs forward(Ops& ops, const Tensor& pixels) const override;

 private:
  Tensor embed_patches(Ops& ops, const Tensor& pixels, const WindowGrid& grid) const;
  Tensor run_trunk(Ops& ops, const Tensor& pixels, const WindowGrid& grid) const;
  Tensor run_projector(Ops& ops, const Tensor& features, std::span<const GridSize> levels) const;
  void run_level(Ops& ops, const ProjectorLevel& level, const Tensor& features, const Tensor& y) const;
  Tensor select_references(Ops& ops, const Tensor& memory, GridSize input, std::span<const GridSize> levels) const;
  void fill_token_table(const WindowGrid& grid, std::span<float> table) const;

  Tensor read_queries(const WeightCursor& root, std::string_view name, int cols) const;
  void ignore_training_weights(const WeightCursor& root, const Names& names) const;
  void describe(std::string_view dialect);

  RfDetrConfig c_;
  ModelTraits traits_;
  // Position and class embeddings stay on the host: they become a table for each input size.
  std::vector<float> class_token_, positions_, patch_bias_;
  int position_side_ = 0;
  Linear patch_embedding_;
  std::vector<VitBlock> blocks_;
  Norm trunk_norm_;
  std::vector<ProjectorLevel> projector_;
  Linear proposal_feature_, proposal_class_;
  Norm proposal_norm_;
  Mlp proposal_box_;
  Tensor reference_deltas_, query_features_;
  DeformableDecoder decoder_;
  Linear class_head_;
  Mlp box_head_;
};

// --- reading -------------------------------------------------------------------------------------------------------

// A transposed convolution with kernel 2 and stride 2, as a product into (y, x, out).
Linear read_transposed_convolution(const WeightCursor& w, int in, int out) {
  const std::vector<float> weight = w.floats("weight", {in, out, 2, 2});
  const std::vector<float> bias = w.floats("bias", {out});
  std::vector<float> rows(weight.size()), biases(4 * bias.size());
  for (int corner = 0; corner < 4; ++corner) {
    for (int o = 0; o < out; ++o) {
      const auto row = static_cast<std::size_t>(corner * out + o);
      biases[row] = bias[static_cast<std::size_t>(o)];
      for (int i = 0; i < in; ++i) {
        rows[row * static_cast<std::size_t>(in) + static_cast<std::size_t>(i)] =
            weight[static_cast<std::size_t>((i * out + o) * 4 + corner)];
      }
    }
  }
  return w.store().linear(rows, biases, in, 4 * out);
}

ProjectorLevel read_level(const WeightCursor& w, const Names& names, const RfDetrConfig& c, int index) {
  const double scale = c.scales[static_cast<std::size_t>(index)];
  const bool is_original = names.dialect == kOriginal.dialect;
  const bool is_single = c.scales.size() == 1;
  const int maps = static_cast<int>(c.stages.size()), dim = c.vit.dim;
  const WeightCursor base = is_original || is_single ? w : w.child(fmt::format("scale_layers.{}", index));
  ProjectorLevel level{};
  for (int map = 0; map < maps && scale != 1.0; ++map) {
    const WeightCursor sampling = is_original ? w.child(fmt::format("stages_sampling.{}.{}.0", index, map))
                                              : base.child(fmt::format("sampling_layers.{}.layers.0", map));
    if (scale == 0.5) {
      level.downsamples.push_back(
          read_conv_norm(sampling, names.conv, {dim, dim, 3, 3, 2, 1}, c.projector_eps, Activation::relu));
      continue;
    }
    level.upsamples.push_back(read_transposed_convolution(sampling, dim, dim / 2));
  }
  const int in = maps * (scale == 2.0 ? dim / 2 : dim);
  const C2fConfig c2f{in, c.decoder.dim, c.c2f_hidden, c.c2f_blocks, c.projector_eps, c.projector_activation};
  const std::string stage = fmt::format("stages.{}", index);
  constexpr float kLevelNormEps = 1e-6f;  // not the config's: the reference leaves this norm at its default
  level.c2f = read_c2f(is_original ? w.child(stage + ".0") : base.child("projector_layer"), names.conv, c2f);
  level.norm = is_original ? w.norm(stage + ".1", c.decoder.dim, kLevelNormEps)
                           : base.norm("layer_norm", c.decoder.dim, kLevelNormEps);
  return level;
}

RfDetr::RfDetr(RfDetrConfig config, const Names& names, WeightReader& reader) : c_(std::move(config)) {
  const WeightCursor root(reader, !reader.is_random() && reader.has_prefix("model.model.") ? "model." : "");
  const WeightCursor trunk = root.child(names.trunk), heads = root.child(names.proposals);
  const int dim = c_.vit.dim, width = c_.decoder.dim;

  const WeightCursor embeddings = trunk.child("embeddings");
  position_side_ = c_.image.height / c_.patch;
  class_token_ = embeddings.floats("cls_token", {1, 1, dim});
  positions_ = embeddings.floats("position_embeddings", {1, 1 + position_side_ * position_side_, dim});
  const std::vector<float> kernel =
      embeddings.floats("patch_embeddings.projection.weight", {dim, 3, c_.patch, c_.patch});
  patch_bias_ = embeddings.floats("patch_embeddings.projection.bias", {dim});
  patch_embedding_ = reader.store().linear(kernel, patch_bias_, 3 * c_.patch * c_.patch, dim);
  for (int i = 0; i < c_.vit.layers; ++i) {
    blocks_.push_back(read_vit_block(trunk.child(fmt::format("encoder.layer.{}", i)), c_.vit));
  }
  trunk_norm_ = trunk.norm("layernorm", dim, c_.vit.norm_eps);

  for (int i = 0; i < static_cast<int>(c_.scales.size()); ++i) {
    projector_.push_back(read_level(root.child(names.projector), names, c_, i));
  }

  proposal_feature_ = heads.linear("enc_output.0", width, width);
  proposal_norm_ = heads.norm("enc_output_norm.0", width, c_.decoder.norm_eps);
  proposal_class_ = heads.linear("enc_out_class_embed.0", width, c_.classes);
  proposal_box_ = read_mlp(heads.child("enc_out_bbox_embed.0"), width, width, 4, 3);
  reference_deltas_ = read_queries(root, names.reference_points, 4);
  query_features_ = read_queries(root, names.query_features, width);
  decoder_ = read_deformable_decoder(root.child(names.decoder), names.decoder_norm, names.layer, c_.decoder);
  class_head_ = root.linear("class_embed", width, c_.classes);
  box_head_ = read_mlp(root.child("bbox_embed"), width, width, 4, 3);
  ignore_training_weights(root, names);
  describe(reader.is_random() ? "random" : names.dialect);
}

// Training runs several groups of queries side by side; inference takes the first.
Tensor RfDetr::read_queries(const WeightCursor& root, std::string_view name, int cols) const {
  const std::vector<float> all = root.floats(name, {c_.queries * c_.query_groups, cols});
  const auto count = static_cast<std::size_t>(c_.queries) * static_cast<std::size_t>(cols);
  return root.store().table(std::span(all).first(count), {c_.queries, cols});
}

void RfDetr::ignore_training_weights(const WeightCursor& root, const Names& names) const {
  root.child(names.trunk).ignore("embeddings.mask_token");
  const WeightCursor heads = root.child(names.proposals);
  for (int group = 1; group < c_.query_groups; ++group) {
    for (const char* head : {"enc_output", "enc_output_norm", "enc_out_class_embed", "enc_out_bbox_embed"}) {
      heads.ignore(fmt::format("{}.{}.", head, group));
    }
  }
  if (!c_.has_masks) return;
  // The mask head reads the detector's outputs and changes none of them.
  const WeightCursor file = root.top();
  for (const char* part : {"segmentation_head.", "blocks.", "spatial_features_proj.", "query_features_block.",
                           "query_features_proj.", "segmentation_bias"}) {
    file.ignore(part);
  }
}

void RfDetr::describe(std::string_view dialect) {
  traits_.family = "rf_detr";
  traits_.dialect = dialect;
  traits_.architecture =
      fmt::format("DINOv2 trunk {} x {} ({} heads, patch {}, {} windows), {} level(s), decoder {} x {}, {} queries",
                  c_.vit.layers, c_.vit.dim, c_.vit.heads, c_.patch, c_.windows * c_.windows, c_.scales.size(),
                  c_.decoder.layers, c_.decoder.dim, c_.queries);
  traits_.class_names = c_.class_names;
  traits_.input = c_.image;
  traits_.size_multiple = c_.patch * c_.windows;
  traits_.queries = c_.queries;
  constexpr float kImageNetMean[3] = {0.485f, 0.456f, 0.406f}, kImageNetStd[3] = {0.229f, 0.224f, 0.225f};
  traits_.rounds_resized = false;
  std::ranges::copy(kImageNetMean, traits_.mean);
  std::ranges::copy(kImageNetStd, traits_.std);
}

// --- forward -------------------------------------------------------------------------------------------------------

// The table that patch products are added to: a row for each token, window-major.
void RfDetr::fill_token_table(const WindowGrid& grid, std::span<float> table) const {
  const auto dim = static_cast<std::size_t>(c_.vit.dim);
  const std::span<const float> stored = std::span(positions_).subspan(dim);
  std::vector<float> resized;
  std::span<const float> positions = stored;
  if (grid.height != position_side_ || grid.width != position_side_) {
    resized.resize(static_cast<std::size_t>(grid.height) * static_cast<std::size_t>(grid.width) * dim);
    cpu::grid_resize({stored.data(), resized.data(), position_side_, position_side_, grid.height, grid.width,
                      c_.vit.dim, Interpolation::bicubic, true});
    positions = resized;
  }
  const int rows = grid.height / grid.windows, cols = grid.width / grid.windows;
  float* out = table.data();
  for (int window = 0; window < grid.window_count(); ++window) {
    // A class token in front of every window. Its patch is all zeros, so the product will add the bias: taken off here.
    for (std::size_t d = 0; d < dim; ++d) *out++ = class_token_[d] + positions_[d] - patch_bias_[d];
    const int top = window / grid.windows * rows, left = window % grid.windows * cols;
    for (int y = top; y < top + rows; ++y) {
      const float* row = positions.data() + static_cast<std::size_t>(y * grid.width + left) * dim;
      out = std::copy_n(row, static_cast<std::size_t>(cols) * dim, out);
    }
  }
}

// -> (B, tokens, C), residual_dtype(), with positions.
Tensor RfDetr::embed_patches(Ops& ops, const Tensor& pixels, const WindowGrid& grid) const {
  const Tensor table = ops.constant("tokens", {grid.height, grid.width}, {grid.tokens(), c_.vit.dim},
                                    [&](std::span<float> values) { fill_token_table(grid, values); });
  const Tensor tokens = ops.repeat(table, static_cast<int>(pixels.shape[0]), ops.residual_dtype());
  const auto released = ops.scope();
  ops.linear_add(ops.patches(pixels, c_.patch, grid), patch_embedding_, tokens);
  return tokens;
}

// -> (B, height, width, stages * C), dtype().
Tensor RfDetr::run_trunk(Ops& ops, const Tensor& pixels, const WindowGrid& grid) const {
  const std::int64_t batch = pixels.shape[0], dim = c_.vit.dim;
  const int maps = static_cast<int>(c_.stages.size());
  Tensor features = ops.empty({batch, grid.height, grid.width, maps * dim}, ops.dtype());
  const auto released = ops.scope();
  const Tensor tokens = embed_patches(ops, pixels, grid);
  const Tensor windows = tokens.reshaped({batch * grid.window_count(), grid.window_tokens(), dim});
  int map = 0;
  for (int i = 0; i < c_.vit.layers && map < maps; ++i) {
    const auto layer = static_cast<std::size_t>(i);
    run_vit_block(ops, blocks_[layer], c_.vit, c_.is_windowed[layer] ? windows : tokens);
    if (c_.stages[static_cast<std::size_t>(map)] != i + 1) continue;
    ops.layer_norm_to_grid(tokens, trunk_norm_, grid, features.columns(map * c_.vit.dim, (map + 1) * c_.vit.dim));
    ++map;
  }
  return features;
}

// features (B, height, width, stages * C) -> y (B, height', width', D), dtype().
void RfDetr::run_level(Ops& ops, const ProjectorLevel& level, const Tensor& features, const Tensor& y) const {
  const std::int64_t batch = features.shape[0], height = features.shape[1], width = features.shape[2];
  const int dim = c_.vit.dim;
  Tensor input = features;
  if (!level.upsamples.empty()) {
    const int out = level.upsamples[0].out / 4, maps = static_cast<int>(level.upsamples.size());
    input = ops.empty({batch, 2 * height, 2 * width, maps * out}, ops.dtype());
    for (int map = 0; map < maps; ++map) {
      const auto released = ops.scope();
      const Tensor corners =
          ops.linear(features.columns(map * dim, (map + 1) * dim), level.upsamples[static_cast<std::size_t>(map)]);
      ops.copy_into(ops.depth_to_space(corners), input.columns(map * out, (map + 1) * out));
    }
  } else if (!level.downsamples.empty()) {
    const int maps = static_cast<int>(level.downsamples.size());
    input = ops.empty({batch, (height + 1) / 2, (width + 1) / 2, maps * dim}, ops.dtype());
    for (int map = 0; map < maps; ++map) {
      const auto released = ops.scope();
      run_conv_norm(ops, level.downsamples[static_cast<std::size_t>(map)], features.columns(map * dim, (map + 1) * dim),
                    input.columns(map * dim, (map + 1) * dim));
    }
  }
  ops.layer_norm_into(run_c2f(ops, level.c2f, input), level.norm, y);
}

// -> (B, sum of the levels' areas, D), dtype(): what the decoder looks at.
Tensor RfDetr::run_projector(Ops& ops, const Tensor& features, std::span<const GridSize> levels) const {
  const std::int64_t batch = features.shape[0], dim = c_.decoder.dim;
  std::int64_t area = 0;
  for (const GridSize& level : levels) area += level.area();
  Tensor memory = ops.empty({batch, area, dim}, ops.dtype());
  if (levels.size() == 1) {
    const auto released = ops.scope();
    run_level(ops, projector_[0], features, memory);
    return memory;
  }
  std::int64_t begin = 0;
  for (std::size_t l = 0; l < levels.size(); ++l) {
    const auto released = ops.scope();
    const Tensor map = ops.empty({batch, levels[l].area(), dim}, ops.dtype());
    run_level(ops, projector_[l], features, map);
    const Shape one{levels[l].area(), dim};
    for (std::int64_t b = 0; b < batch; ++b) {
      const auto at = [&](const Tensor& t, std::int64_t row) {
        auto* bytes = static_cast<std::byte*>(t.data) + static_cast<std::size_t>(row * dim) * size_of(t.dtype);
        return Tensor{bytes, one, t.dtype, dim};
      };
      ops.copy_into(at(map, b * one[0]), at(memory, b * area + begin));
    }
    begin += one[0];
  }
  return memory;
}

// Anchors at the cells' centres, sides 0.05 * 2^level; all zero, and so never chosen, too close to the border.
void fill_proposals(std::span<const GridSize> levels, std::span<float> boxes) {
  constexpr float kMargin = 0.01f, kSide = 0.05f;
  float* box = boxes.data();
  for (std::size_t l = 0; l < levels.size(); ++l) {
    const float side = kSide * std::ldexp(1.0f, static_cast<int>(l));
    for (int y = 0; y < levels[l].height; ++y) {
      for (int x = 0; x < levels[l].width; ++x, box += 4) {
        box[0] = (static_cast<float>(x) + 0.5f) / static_cast<float>(levels[l].width);
        box[1] = (static_cast<float>(y) + 0.5f) / static_cast<float>(levels[l].height);
        box[2] = box[3] = side;
        const bool is_valid = std::all_of(box, box + 4, [](float v) { return v > kMargin && v < 1.0f - kMargin; });
        if (!is_valid) std::fill_n(box, 4, 0.0f);
      }
    }
  }
}

// The first stage: every cell proposes a box, the best become the queries' references. -> (B, Q, 4) f32.
Tensor RfDetr::select_references(Ops& ops, const Tensor& memory, GridSize input,
                                 std::span<const GridSize> levels) const {
  const Tensor proposals = ops.constant("proposals", input, {memory.shape[1], 4},
                                        [&](std::span<float> values) { fill_proposals(levels, values); });
  Tensor references = ops.empty({memory.shape[0], c_.queries, 4}, DType::f32);
  const auto released = ops.scope();
  const Tensor objects = ops.layer_norm(ops.linear(memory, proposal_feature_), proposal_norm_);
  const Tensor index = ops.top_proposals(ops.linear_f32(objects, proposal_class_), proposals, c_.queries);
  // Only the chosen ones need a box.
  const Tensor deltas = run_mlp_f32(ops, proposal_box_, ops.gather_rows(objects, index));
  const Tensor boxes = ops.refine_boxes(ops.gather_rows(proposals, index), deltas);
  ops.refine_boxes_into(boxes, reference_deltas_, references);
  return references;
}

Model::Outputs RfDetr::forward(Ops& ops, const Tensor& pixels) const {
  const GridSize input{static_cast<int>(pixels.shape[2]), static_cast<int>(pixels.shape[3])};
  const WindowGrid grid{input.height / c_.patch, input.width / c_.patch, c_.windows, 1};
  std::array<GridSize, DeformableAttentionArgs::kMaxLevels> level_sizes;
  const std::span levels(level_sizes.data(), c_.scales.size());
  for (std::size_t l = 0; l < levels.size(); ++l) levels[l] = level_size({grid.height, grid.width}, c_.scales[l]);
  const Tensor logits = ops.empty({pixels.shape[0], c_.queries, c_.classes}, DType::f32);
  const Tensor boxes = ops.empty({pixels.shape[0], c_.queries, 4}, DType::f32);
  const auto released = ops.scope();
  const Tensor memory = run_projector(ops, run_trunk(ops, pixels, grid), levels);
  const Tensor references = select_references(ops, memory, input, levels);
  const Tensor queries = ops.repeat(query_features_, static_cast<int>(pixels.shape[0]));
  const Tensor found = run_deformable_decoder(ops, decoder_, c_.decoder, queries, references, memory, levels);
  ops.linear_into(found, class_head_, logits);
  ops.refine_boxes_into(references, run_mlp_f32(ops, box_head_, found), boxes);
  return {logits, boxes};
}

}  // namespace

std::unique_ptr<Model> make_rf_detr(const ConfigReader& config, WeightReader& reader) {
  const bool is_original = reader.has_prefix("backbone.0.");
  return std::make_unique<RfDetr>(read_rf_detr_config(config), is_original ? kOriginal : kHuggingFace, reader);
}

}  // namespace vistazo
