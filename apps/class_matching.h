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

// Matched by name, whatever the case. Where not a single name matches, by number: class k is category k if every id is
// below the number of classes (COCO's 91 classes), else, with as many classes as categories, the one with the k-th id
// (COCO's 80). A numbering that all matching names keep to, at least half of them, also decides for the others: for
// COCO, some models say "sofa" and "tvmonitor".
ClassMatching match_classes(std::span<const std::string> class_names, std::span<const CocoCategory> categories);

}  // namespace vistazo::apps
