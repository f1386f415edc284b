#include "apps/class_matching.h"

#include <algorithm>
#include <cctype>

namespace vistazo::apps {
namespace {

std::string lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

ClassMatching match_classes(std::span<const std::string> class_names, std::span<const CocoCategory> categories) {
  ClassMatching matching;
  std::map<std::string, int> class_of_name;
  for (std::size_t i = 0; i < class_names.size(); ++i) {
    class_of_name.emplace(lower_case(class_names[i]), static_cast<int>(i));
  }
  const bool has_named = std::ranges::any_of(
      categories, [&](const CocoCategory& category) { return class_of_name.contains(lower_case(category.name)); });
  for (const CocoCategory& category : categories) {
    const auto named = class_of_name.find(lower_case(category.name));
    const auto classes = static_cast<std::int64_t>(class_names.size());
    if (has_named && named != class_of_name.end()) {
      matching.category_of_class.emplace(named->second, category.id);
    } else if (!has_named && category.id >= 0 && category.id < classes) {
      matching.category_of_class.emplace(static_cast<int>(category.id), category.id);
    } else {
      matching.unmatched.push_back(category.name);
    }
  }
  return matching;
}

}  // namespace vistazo::apps
