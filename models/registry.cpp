#include "models/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weight_cursor.h"
#include "weights/config_reader.h"

namespace vistazo {
namespace {

constexpr std::array kFamilies{
    Family{"rf_detr", make_rf_detr, &kRfDetrFiles},         Family{"rt_detr", make_rt_detr, &kRtDetrFiles},
    Family{"rt_detr_v2", make_rt_detr_v2, &kRtDetrV2Files}, Family{"d_fine", make_d_fine, &kDFineFiles},
    Family{"deimv2", make_deimv2, &kDeimv2Files},
};

}  // namespace

std::span<const Family> families() {
  return kFamilies;
}

std::unique_ptr<Model> make_model(const ConfigReader& config, WeightReader& weights) {
  const std::string type = config.string("model_type", "");
  const auto family = std::ranges::find(kFamilies, type, &Family::model_type);
  if (family == kFamilies.end()) {
    std::vector<std::string_view> known;
    for (const Family& f : kFamilies) known.push_back(f.model_type);
    config.refuse("model_type", fmt::format("one of: {}", fmt::join(known, ", ")));
  }
  std::unique_ptr<Model> model = family->make(config, weights);
  weights.require_all_read();
  return model;
}

}  // namespace vistazo
