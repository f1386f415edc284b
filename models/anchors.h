#pragma once

#include <span>

#include "engine/ops.h"

// The first stage of RT-DETR, D-FINE and their kin: every cell of every level is an anchor at its centre, with sides of
// 0.05 * 2^level of the image. An anchor within 1 % of the image's edge is invalid: its cell counts as zeros.
namespace vistazo {

// (sum of areas, 4): the logits of (cx, cy, w, h). Of an invalid anchor the largest floats, so that their sigmoid is 1
// whatever is added.
void fill_anchor_logits(std::span<const GridSize> levels, std::span<float> logits);
// (sum of areas): 1 for a valid anchor, else 0.
void fill_anchor_mask(std::span<const GridSize> levels, std::span<float> mask);

}  // namespace vistazo
