#include "weights/name_rules.h"

namespace vistazo {
namespace {

// Cuts the first segment off.
std::string_view take_segment(std::string_view& rest) {
  const std::size_t dot = rest.find('.');
  const std::string_view segment = rest.substr(0, dot);
  rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  return segment;
}

// What the stars of `pattern` stand for in `name`.
std::optional<std::vector<std::string_view>> match(std::string_view pattern, std::string_view name) {
  std::vector<std::string_view> stars;
  while (!pattern.empty()) {
    if (name.empty()) return {};
    const std::string_view wanted = take_segment(pattern);
    if (wanted == "**") {
      stars.push_back(name);
      return stars;
    }
    const std::string_view found = take_segment(name);
    if (wanted == "*") {
      stars.push_back(found);
    } else if (wanted != found) {
      return {};
    }
  }
  if (!name.empty()) return {};
  return stars;
}

std::string fill_in(std::string_view pattern, std::span<const std::string_view> stars) {
  std::string name;
  std::size_t next = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '*') {
      name += pattern[i];
      continue;
    }
    if (next < stars.size()) name += stars[next++];
    if (i + 1 < pattern.size() && pattern[i + 1] == '*') ++i;
  }
  return name;
}

// a{x,,y}b -> axb, an empty name, ayb.
std::vector<std::string> expand(std::string_view pattern) {
  const std::size_t open = pattern.find('{'), close = pattern.find('}');
  if (open == std::string_view::npos || close == std::string_view::npos) return {std::string(pattern)};
  const std::string before(pattern.substr(0, open)), behind(pattern.substr(close + 1));
  std::vector<std::string> names;
  std::string_view words = pattern.substr(open + 1, close - open - 1);
  while (!words.empty()) {
    const std::size_t comma = words.find(',');
    const std::string word(words.substr(0, comma));
    names.push_back(word.empty() ? word : before + word + behind);
    words = comma == std::string_view::npos ? std::string_view() : words.substr(comma + 1);
  }
  return names;
}

}  // namespace

std::optional<std::vector<std::string>> rename(std::span<const NameRule> rules, std::string_view name) {
  for (const NameRule& rule : rules) {
    const auto stars = match(rule.from, name);
    if (!stars) continue;
    std::vector<std::string> names;
    if (rule.to.empty()) return names;
    for (const std::string& pattern : expand(rule.to)) names.push_back(fill_in(pattern, *stars));
    return names;
  }
  return {};
}

}  // namespace vistazo
