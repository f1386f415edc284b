#include "apps/outputs/object_writer.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>

namespace vistazo::apps {

std::string class_name(int class_id, std::span<const std::string> class_names) {
  const bool is_named = class_id >= 0 && static_cast<std::size_t>(class_id) < class_names.size();
  return is_named ? class_names[static_cast<std::size_t>(class_id)] : fmt::format("class {}", class_id);
}

std::string UniqueNames::next(const std::string& name, std::string_view extension) {
  const auto key = [](std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
  };
  std::string result = fmt::format("{}{}", name, extension);
  const auto [known, is_new] = taken_.try_emplace(key(result), 1);
  if (is_new) return result;
  int& number = known->second;
  do {
    result = fmt::format("{}_{}{}", name, ++number, extension);
  } while (!taken_.try_emplace(key(result), 1).second);
  return result;
}

}  // namespace vistazo::apps
