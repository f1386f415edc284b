#include "models/hgnet_v2_sizes.h"

#include <span>

namespace vistazo {
namespace {

using Json = nlohmann::json;
using Stage = HgnetSize::Stage;

constexpr Stage kFirst{16, 16, 64, 1, false, 3, 3}, kSecond{64, 32, 256, 1, false, 3, 3};  // of the smallest

}  // namespace

constexpr HgnetSize kHgnetAtto{{16, 16}, {{kFirst, kSecond, {256, 64, 256, 1, true, 3, 3}}}, 3, true};
constexpr HgnetSize kHgnetFemto{{16, 16}, {{kFirst, kSecond, {256, 64, 512, 1, true, 5, 3}}}, 3, true};
constexpr HgnetSize kHgnetPico{{16, 16}, {{kFirst, kSecond, {256, 64, 512, 2, true, 5, 3}}}, 3, true};
constexpr HgnetSize kHgnetB0{
    {16, 16}, {{kFirst, kSecond, {256, 64, 512, 2, true, 5, 3}, {512, 128, 1024, 1, true, 5, 3}}}, 4, true};
constexpr HgnetSize kHgnetB2{{24, 32},
                             {{{32, 32, 96, 1, false, 3, 4},
                               {96, 64, 384, 1, false, 3, 4},
                               {384, 128, 768, 3, true, 5, 4},
                               {768, 256, 1536, 1, true, 5, 4}}},
                             4,
                             true};
constexpr HgnetSize kHgnetB4{{32, 48},
                             {{{48, 48, 128, 1, false, 3, 6},
                               {128, 96, 512, 1, false, 3, 6},
                               {512, 192, 1024, 3, true, 5, 6},
                               {1024, 384, 2048, 1, true, 5, 6}}},
                             4,
                             false};
constexpr HgnetSize kHgnetB5{{32, 64},
                             {{{64, 64, 128, 1, false, 3, 6},
                               {128, 128, 512, 2, false, 3, 6},
                               {512, 256, 1024, 5, true, 5, 6},
                               {1024, 512, 2048, 2, true, 5, 6}}},
                             4,
                             false};
constexpr HgnetSize kHgnetB6{{48, 96},
                             {{{96, 96, 192, 2, false, 3, 6},
                               {192, 192, 512, 3, false, 3, 6},
                               {512, 384, 1024, 6, true, 5, 6},
                               {1024, 768, 2048, 3, true, 5, 6}}},
                             4,
                             false};

Json hgnet_v2_json(const HgnetSize& size, const std::vector<int>& stages) {
  const auto list = [&](auto value) {
    Json values = Json::array();
    for (const Stage& s : std::span(size.stages).first(static_cast<std::size_t>(size.stage_count))) {
      values.push_back(value(s));
    }
    return values;
  };
  Json downsamples = list([](const Stage&) { return true; });
  downsamples[0] = false;
  return {{"model_type", "hgnet_v2"},
          {"depths", list([](const Stage& s) { return s.blocks; })},
          {"hidden_sizes", list([](const Stage& s) { return s.out; })},
          {"stem_channels", {3, size.stem[0], size.stem[1]}},
          {"stage_in_channels", list([](const Stage& s) { return s.in; })},
          {"stage_mid_channels", list([](const Stage& s) { return s.middle; })},
          {"stage_out_channels", list([](const Stage& s) { return s.out; })},
          {"stage_num_blocks", list([](const Stage& s) { return s.blocks; })},
          {"stage_numb_of_layers", list([](const Stage& s) { return s.layers; })},
          {"stage_light_block", list([](const Stage& s) { return s.is_light; })},
          {"stage_kernel_size", list([](const Stage& s) { return s.kernel; })},
          {"stage_downsample", downsamples},
          {"stage_downsample_strides", list([](const Stage&) { return 2; })},
          {"use_learnable_affine_block", size.has_affine},
          {"out_indices", stages}};
}

}  // namespace vistazo
