#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "engine/ops.h"
#include "engine/weight_cursor.h"
#include "models/conv_blocks.h"

// What D-FINE and DEIMv2 mix feature maps with: RepNCSPELAN blocks (Wang et al. 2024, YOLOv9, arXiv:2402.13616, with
// RepVGG's convolutions inside), stacked into the pyramid of RT-DETR (Zhao et al. 2023, arXiv:2304.08069).
namespace vistazo {

struct ElanConfig {
  int in = 0, dim = 0;           // channels of the input and of the result
  int hidden = 0;                // of a branch
  int blocks = 0;                // of a branch
  bool has_trailing = true;      // a 3 x 3 convolution behind each branch
  bool has_fused_split = false;  // a branch's two 1 x 1 convolutions are stored as one
};

// Units of each a convolution and a batch norm called conv and norm.
struct ElanNames {
  std::string_view first, last;
  std::string_view branches[2], trailing[2];
};

inline constexpr ElanNames kElanDFine{"conv1", "conv4", {"csp_rep1", "csp_rep2"}, {"conv2", "conv3"}};
inline constexpr ElanNames kElanDeimv2{
    "conv1", "conv2", {"csp_rep1", "csp_rep2"}, {"csp_rep1.conv2", "csp_rep2.conv2"}};
inline constexpr ElanNames kElanOriginal{"cv1", "cv4", {"cv2.0", "cv3.0"}, {"cv2.1", "cv3.1"}};

struct Elan {
  struct Branch {
    ConvUnit split;  // into what is added at the end, and what goes through the blocks
    std::vector<ConvUnit> blocks;
    ConvUnit trailing;
  };
  ConvUnit first, last;
  Branch branches[2];
  ElanConfig config;
};

Elan read_elan(const WeightCursor& w, const ElanNames& names, const ElanConfig& c);
// x (B, H, W, in) -> y (B, H, W, dim), dtype().
void run_elan_into(Ops& ops, const Elan& elan, const Tensor& x, const Tensor& y);

// Top-down and bottom-up paths over maps of one width, each half the size of the one before.
struct ElanPyramid {
  struct Down {
    ConvUnit pointwise, depthwise;
  };
  std::vector<ConvUnit> laterals;  // from the smallest map up
  std::vector<Elan> top_down, bottom_up;
  std::vector<Down> downs;
};

struct ElanPyramidNames {
  std::string_view down;                  // of a step down: "", "0."
  std::string_view pointwise, depthwise;  // "conv1", "conv2"
  ElanNames elan;
};

// maps: how many. elan.in is elan.dim if a pair of maps is added, twice that if they are put side by side.
ElanPyramid read_elan_pyramid(const WeightCursor& w, const ElanPyramidNames& names, const ElanConfig& elan, int maps);
// maps[i] (B, H, W, dim), the largest first, are replaced by the results of the same sizes.
void run_elan_pyramid(Ops& ops, const ElanPyramid& pyramid, std::span<Tensor> maps);

// maps[i] (B, H, W, dim) -> (B, sum of areas, dim), dtype().
Tensor join_levels(Ops& ops, std::span<const Tensor> maps);

}  // namespace vistazo
