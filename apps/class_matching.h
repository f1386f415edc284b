#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "apps/coco_file.h"

namespace vistazo::apps {

// How the classes of a model and the categories of a data set belong together.
struct ClassMatching {
  std::map<int, std::int64_t> category_of_class;  // model class -> category id
  std::vector<std::string> unmatched;             // names of categories that the model does not know
};

// Matched by name, whatever the case. Only where not a single name matches, by id: class k is category k.
ClassMatching match_classes(std::span<const std::string> class_names, std::span<const CocoCategory> categories);

}  // namespace vistazo::apps
