#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "engine/ops.h"
#include "engine/weight_cursor.h"

// The post-norm decoder of Deformable DETR (Zhu et al. 2021, arXiv:2010.04159) with box references, and the small heads
// around it.
namespace vistazo {

// Linear layers with an activation in between.
using Mlp = std::vector<Linear>;

// w.layers.0, w.layers.1, ...: `layers` of them, `hidden` wide, into `out`.
Mlp read_mlp(const WeightCursor& w, int in, int hidden, int out, int layers);
// -> dtype(); the last layer -> f32; the last layer's result added to y, f32.
Tensor run_mlp(Ops& ops, const Mlp& mlp, const Tensor& x, Activation activation = Activation::relu);
Tensor run_mlp_f32(Ops& ops, const Mlp& mlp, const Tensor& x, Activation activation = Activation::relu);
void run_mlp_add(Ops& ops, const Mlp& mlp, const Tensor& x, const Tensor& y, Activation activation);

struct DecoderConfig {
  int dim = 0;
  int layers = 0;
  int self_heads = 0, cross_heads = 0;
  int levels = 0, points = 0;
  int ffn_dim = 0;
  float norm_eps = 0;
  Activation activation = Activation::relu;
  float offset_scale = 0.5f;   // of sampling offsets, in sizes of the box
  bool takes_nearest = false;  // cells instead of bilinear samples
};

// The names that differ between the dialects of a checkpoint.
struct DecoderLayerNames {
  std::string_view self_out;             // of the self-attention: "o_proj", "out_proj"
  std::string_view norm1, norm2, norm3;  // behind self-attention, cross-attention, feed-forward
  std::string_view fc1, fc2;
  std::string_view cross = "cross_attn";
};

struct DecoderLayer {
  Linear query_key, value, self_out;  // of the self-attention
  Linear offset_logits, cross_out;    // of the deformable cross-attention; its values: read_decoder_values()
  Linear fc1, fc2;
  Norm norm1, norm2, norm3;
};

DecoderLayer read_decoder_layer(const WeightCursor& w, const DecoderLayerNames& names, const DecoderConfig& c);
// The value projections of all layers side by side, dim -> layers * dim: one product over the feature maps.
Linear read_decoder_values(const WeightCursor& w, const DecoderLayerNames& names, const DecoderConfig& c);
// x (B, Q, D) f32, updated in place; position (B, Q, D), dtype(); reference (B, Q, 4) f32; values (B, sum of areas, D).
void run_decoder_layer(Ops& ops, const DecoderLayer& layer, const DecoderConfig& c, const Tensor& x,
                       const Tensor& position, const Tensor& reference, const Tensor& values,
                       std::span<const GridSize> levels);

// RF-DETR's and LW-DETR's: all layers look around the same references.
struct DeformableDecoder {
  std::vector<DecoderLayer> layers;
  Linear values;
  Norm norm;
  Mlp position_head;
};

// layers: at <decoder>.layers. The self-attention is read as q_proj, k_proj, v_proj, or as PyTorch's in_proj.
DeformableDecoder read_deformable_decoder(const WeightCursor& w, std::string_view norm_name,
                                          const DecoderLayerNames& names, const DecoderConfig& c);

// queries (B, Q, D) f32, updated in place; reference (B, Q, 4) f32; memory (B, sum of areas, D), dtype()
// -> (B, Q, D), dtype(), behind the last norm. The references stay the same for all layers.
Tensor run_deformable_decoder(Ops& ops, const DeformableDecoder& decoder, const DecoderConfig& c, const Tensor& queries,
                              const Tensor& reference, const Tensor& memory, std::span<const GridSize> levels);

}  // namespace vistazo
