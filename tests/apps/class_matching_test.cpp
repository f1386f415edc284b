#include "apps/class_matching.h"

#include <doctest/doctest.h>

using namespace vistazo::apps;

TEST_CASE("classes and categories are matched by name in any case") {
  const std::vector<std::string> names = {"Cat", "dog", "bird"};
  const std::vector<CocoCategory> categories = {{7, "DOG"}, {9, "cat"}, {1, "horse"}};
  const ClassMatching matching = match_classes(names, categories);
  CHECK(matching.category_of_class == std::map<int, std::int64_t>{{0, 9}, {1, 7}});
  CHECK(matching.unmatched == std::vector<std::string>{"horse"});
}

TEST_CASE("where no name matches, ids do") {
  const std::vector<std::string> names = {"LABEL_0", "LABEL_1", "LABEL_2"};
  const std::vector<CocoCategory> categories = {{1, "dog"}, {2, "cat"}, {3, "horse"}};
  const ClassMatching matching = match_classes(names, categories);
  CHECK(matching.category_of_class == std::map<int, std::int64_t>{{1, 1}, {2, 2}});
  CHECK(matching.unmatched == std::vector<std::string>{"horse"});
}
