#pragma once

#include <span>
#include <string_view>

#include "engine/ops.h"
#include "engine/weight_cursor.h"
#include "models/elan.h"

// DEIMv2's encoder for its smallest models (Huang et al. 2025, arXiv:2509.20787, section 3.3): one map of the backbone
// and a half-size copy of it, mixed once in each direction.
namespace vistazo {

struct LiteEncoder {
  ConvUnit input, average, down1, down2, global;  // average: a mean over 3 x 3, at half the size
  Elan top_down, bottom_up;
};

struct LiteEncoderNames {
  std::string_view down1, down2, global;
  BatchNormNames down;  // inside down1 and down2
  ElanNames elan;
};

// in: channels of the backbone's map.
LiteEncoder read_lite_encoder(const WeightCursor& w, const LiteEncoderNames& names, const ElanConfig& elan, int in);
// map (B, H, W, in) -> maps[0] (B, H, W, dim), maps[1] (B, H/2, W/2, dim), dtype().
void run_lite_encoder(Ops& ops, const LiteEncoder& encoder, const Tensor& map, std::span<Tensor> maps);

}  // namespace vistazo
