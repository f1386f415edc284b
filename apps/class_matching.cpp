#include "apps/class_matching.h"

#include <algorithm>
#include <cctype>

namespace vistazo::apps {
namespace {

std::string lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// Model class of each category, by name; -1 where no class is called so.
std::vector<int> match_by_name(std::span<const std::string> class_names, std::span<const CocoCategory> categories) {
  std::map<std::string, int> class_of_name;
  for (std::size_t i = 0; i < class_names.size(); ++i) {
    class_of_name.emplace(lower_case(class_names[i]), static_cast<int>(i));
  }
  std::vector<int> classes;
  for (const CocoCategory& category : categories) {
    const auto named = class_of_name.find(lower_case(category.name));
    classes.push_back(named == class_of_name.end() ? -1 : named->second);
  }
  return classes;
}

// Class k is category k.
std::vector<int> match_by_id(int class_count, std::span<const CocoCategory> categories) {
  std::vector<int> classes;
  for (const CocoCategory& category : categories) {
    const bool is_class = category.id >= 0 && category.id < class_count;
    classes.push_back(is_class ? static_cast<int>(category.id) : -1);
  }
  return classes;
}

// Class k is the category with the k-th id: as COCO's 80 classes are those of its ids 1 to 90 that are in use.
std::vector<int> match_by_order(std::span<const CocoCategory> categories) {
  std::vector<std::int64_t> ids;
  for (const CocoCategory& category : categories) ids.push_back(category.id);
  std::ranges::sort(ids);
  std::vector<int> classes;
  for (const CocoCategory& category : categories) {
    classes.push_back(static_cast<int>(std::ranges::lower_bound(ids, category.id) - ids.begin()));
  }
  return classes;
}

// Whether no name says otherwise, and at least half of the names say the same.
bool agrees(const std::vector<int>& classes, const std::vector<int>& named) {
  std::size_t same = 0;
  for (std::size_t i = 0; i < named.size(); ++i) {
    if (named[i] >= 0 && named[i] != classes[i]) return false;
    same += named[i] >= 0;
  }
  return 2 * same >= named.size();
}

}  // namespace

ClassMatching match_classes(std::span<const std::string> class_names, std::span<const CocoCategory> categories) {
  const auto class_count = static_cast<int>(class_names.size());
  const std::vector<int> by_id = match_by_id(class_count, categories);
  const bool has_ids = std::ranges::find(by_id, -1) == by_id.end();
  const bool has_order = !has_ids && class_names.size() == categories.size();
  std::vector<int> classes = match_by_name(class_names, categories);
  if (std::ranges::all_of(classes, [](int c) { return c < 0; })) {
    classes = has_order ? match_by_order(categories) : by_id;
  } else if (has_order && agrees(match_by_order(categories), classes)) {
    classes = match_by_order(categories);
  } else if (has_ids && agrees(by_id, classes)) {
    classes = by_id;
  }
  ClassMatching matching;
  for (std::size_t i = 0; i < categories.size(); ++i) {
    if (classes[i] >= 0) {
      matching.category_of_class.emplace(classes[i], categories[i].id);
    } else {
      matching.unmatched.push_back(categories[i].name);
    }
  }
  return matching;
}

}  // namespace vistazo::apps
