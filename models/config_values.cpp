#include "models/config_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include "weights/config_reader.h"

namespace vistazo {

Activation read_activation(const ConfigReader& config, const char* key, const char* fallback) {
  static const std::map<std::string, Activation> known{
      {"relu", Activation::relu}, {"silu", Activation::silu}, {"gelu", Activation::gelu}};
  return known.at(config.one_of(key, {"relu", "silu", "gelu"}, fallback));
}

std::vector<int> read_stages(const ConfigReader& backbone, int stages) {
  std::vector<int> chosen;
  if (backbone.has("out_indices")) {
    chosen = backbone.integers("out_indices", 1, stages);
  } else if (backbone.has("out_features")) {
    for (const std::string& name : backbone.strings("out_features")) {
      const std::vector<std::string> known = [&] {
        std::vector<std::string> names;
        for (int i = 1; i <= stages; ++i) names.push_back(fmt::format("stage{}", i));
        return names;
      }();
      const auto found = std::ranges::find(known, name);
      if (found == known.end()) backbone.refuse("out_features", fmt::format("stages from stage1 to stage{}", stages));
      chosen.push_back(static_cast<int>(found - known.begin()) + 1);
    }
  } else {
    chosen = {stages};
  }
  if (chosen.empty() || !std::ranges::is_sorted(chosen, std::less_equal<>())) {
    backbone.refuse(backbone.has("out_indices") ? "out_indices" : "out_features",
                    "at least one stage, in rising order");
  }
  return chosen;
}

std::vector<std::string> read_class_names(const ConfigReader& config) {
  constexpr int kMaxClasses = 100000;
  std::vector<std::string> names;
  if (config.has("id2label")) {
    names = config.labels("id2label");
  } else {
    const int count = config.integer("num_labels", 1, kMaxClasses, 2);  // transformers' default is two
    for (int i = 0; i < count; ++i) names.push_back(fmt::format("class {}", i));
  }
  if (names.empty()) config.refuse("id2label", "at least one label");
  return names;
}

}  // namespace vistazo
