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
  const std::vector<CocoCategory> categories = {{1, "dog"}, {2, "cat"}, {3, "horse"}, {4, "cow"}};
  const ClassMatching matching = match_classes(names, categories);
  CHECK(matching.category_of_class == std::map<int, std::int64_t>{{1, 1}, {2, 2}});
  CHECK(matching.unmatched == std::vector<std::string>{"horse", "cow"});
}

TEST_CASE("with ids above their number and no known name, classes are the categories in the order of their ids") {
  const std::vector<std::string> names = {"LABEL_0", "LABEL_1", "LABEL_2"};
  const std::vector<CocoCategory> categories = {{90, "toothbrush"}, {1, "person"}, {13, "stop sign"}};
  const ClassMatching matching = match_classes(names, categories);
  CHECK(matching.category_of_class == std::map<int, std::int64_t>{{0, 1}, {1, 13}, {2, 90}});
  CHECK(matching.unmatched.empty());
}

TEST_CASE("a few other words for COCO's categories follow the numbering of the rest") {
  const std::vector<CocoCategory> categories = {{1, "person"}, {3, "car"}, {63, "couch"}};
  const std::vector<std::string> eighty = {"person", "car", "sofa"};
  CHECK(match_classes(eighty, categories).category_of_class == std::map<int, std::int64_t>{{0, 1}, {1, 3}, {2, 63}});
  std::vector<std::string> ninety(91, "N/A");
  ninety[1] = "person";
  ninety[3] = "car";
  ninety[63] = "sofa";
  CHECK(match_classes(ninety, categories).category_of_class == std::map<int, std::int64_t>{{1, 1}, {3, 3}, {63, 63}});
}

TEST_CASE("names that stand in another order leave the others unmatched") {
  const std::vector<CocoCategory> categories = {{1, "person"}, {3, "car"}, {63, "couch"}};
  const std::vector<std::string> names = {"car", "person", "sofa"};
  const ClassMatching matching = match_classes(names, categories);
  CHECK(matching.category_of_class == std::map<int, std::int64_t>{{0, 3}, {1, 1}});
  CHECK(matching.unmatched == std::vector<std::string>{"couch"});
}
