#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.h"
#include "engine/ops.h"
#include "engine/weight_cursor.h"
#include "models/deformable_decoder.h"

// The decoder of D-FINE (Peng et al. 2024, arXiv:2410.13842) and DEIMv2 (Huang et al. 2025, arXiv:2509.20787): each
// layer looks at the encoder's maps around its boxes without projecting them, and refines a distribution over the
// distances of the four edges from a box that the first layer settled.
namespace vistazo {

struct FdrConfig {
  int dim = 0, layers = 0, heads = 0, ffn_dim = 0;
  std::vector<int> points;  // samples of a head in each level
  int queries = 0, classes = 0;
  int bins = 33;  // of an edge's distribution
  int peaks = 4;  // of it, that the quality head sees
  int quality_hidden = 64, quality_layers = 2;
  int position_hidden = 0, position_layers = 2;
  float offset_scale = 0.5f;  // of sampling offsets, in sizes of the box
  float norm_eps = 1e-5f;     // of layer norms; RMS norms have theirs
  Activation ffn_activation = Activation::relu, position_activation = Activation::relu;
  Activation head_activation = Activation::relu;   // of all small heads
  bool has_rms_norms = false, has_swiglu = false;  // else layer norms, and two plain products
  bool has_gateway = true;                         // else what cross-attention adds is added, then normalised
  bool has_memory_norm = true;                     // a product and a layer norm before proposals are scored
  bool has_shared_box_head = false;                // all layers ask one for their edges
  bool has_fixed_position = false;                 // position embeddings come from the first references, in all layers

  int levels() const { return static_cast<int>(points.size()); }
};

// What a checkpoint calls things; `heads` and `layers` are prefixes from the top of the file.
struct FdrNames {
  std::string_view heads, layers, quality;
  std::string_view proposals, memory_linear, memory_norm;
  std::string_view box_heads, class_heads;
  std::string_view self_out, norm1, cross, norm2, norm3;
  std::string_view fc1, fc2;                               // of a plain feed-forward
  std::string_view swiglu_gate, swiglu_value, swiglu_out;  // of a SwiGLU; an empty value: one tensor with the gate's
  std::string_view rms_scale;
};

struct FdrLayer {
  Linear query_key, value, self_out;  // of the self-attention
  Linear offset_logits;
  Linear gate_residual, gate_added;  // the gateway's product, cut by its two inputs
  Linear fc1, fc2;
  Norm norm1, norm2, norm3;
  Mlp edge_head;
};

struct FdrDecoder {
  Linear memory_linear;
  Norm memory_norm;
  Linear proposal_class;
  Mlp proposal_box;
  std::vector<FdrLayer> layers;
  Mlp position_head, first_box_head;
  Linear class_head;
  Mlp quality_head;      // without its last layer,
  Linear quality_out;    // which adds its one result to every class
  Tensor bin_distances;  // (bins)
  float distance_scale = 0;
};

FdrDecoder read_fdr_decoder(const WeightCursor& root, const FdrNames& names, const FdrConfig& c);

// memory (B, sum of the levels' areas, dim), dtype(). The outputs are taken from the arena first.
Model::Outputs run_fdr_decoder(Ops& ops, const FdrDecoder& decoder, const FdrConfig& c, const Tensor& memory,
                               GridSize input, std::span<const GridSize> levels);

}  // namespace vistazo
