#pragma once

#include "engine/ops.h"
#include "engine/weight_cursor.h"

// A pre-norm transformer block of ViT (Dosovitskiy et al. 2021, arXiv:2010.11929), with DINOv2's layer scale folded
// into the projections.
namespace vistazo {

struct VitConfig {
  int dim = 0;
  int heads = 0;
  int layers = 0;
  int mlp_dim = 0;
  float norm_eps = 0;
  bool has_qkv_bias = true;
  bool has_gated_mlp = false;  // fc1 makes a gate and a value of mlp_dim each: kernels/gates.h
};

struct VitBlock {
  Norm norm1;
  Linear qkv, proj;
  Norm norm2;
  Linear fc1, fc2;
};

// Hugging Face's names of DINOv2: norm1, attention.attention.query, attention.output.dense, layer_scale1, mlp.fc1, ...
VitBlock read_vit_block(const WeightCursor& w, const VitConfig& c);

// x (B, N, C) in residual_dtype(), updated in place: every token attends to the N tokens of its own batch entry.
void run_vit_block(Ops& ops, const VitBlock& block, const VitConfig& c, const Tensor& x, const Rope* rope = nullptr);

}  // namespace vistazo
