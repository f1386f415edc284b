#include "apps/outputs/object_writer.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>

namespace vistazo::apps {

std::string class_name(int class_id, std::span<const std::string> class_names) {
  const bool is_named = class_id >= 0 && static_cast<std::size_t>(class_id) < class_names.size();
  return is_named ? class_names[static_cast<std::size_t>(class_id)] : fmt::format("class {}", class_id);
}

std::string UniqueNames::next(const std::string& name) {
  const auto is_new = [&](std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return taken_.insert(text).second;
  };
  std::string result = name;
  for (int i = 2; !is_new(result); ++i) result = fmt::format("{}_{}", name, i);
  return result;
}

}  // namespace vistazo::apps
