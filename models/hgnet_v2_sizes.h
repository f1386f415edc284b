#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <vector>

// The published sizes of HGNetV2, for files that come without a config.
namespace vistazo {

struct HgnetSize {
  struct Stage {
    int in, middle, out, blocks;
    bool is_light;
    int kernel, layers;
  };
  std::array<int, 2> stem;
  std::array<Stage, 4> stages;
  int stage_count;
  bool has_affine;
};

extern const HgnetSize kHgnetAtto, kHgnetFemto, kHgnetPico, kHgnetB0, kHgnetB2;
extern const HgnetSize kHgnetB4, kHgnetB5, kHgnetB6;  // RT-DETR's L, X and H

// As transformers' backbone_config says it. stages: those that give a map, 1-based.
nlohmann::json hgnet_v2_json(const HgnetSize& size, const std::vector<int>& stages);

}  // namespace vistazo
