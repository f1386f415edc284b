#include "apps/label_layout.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "apps/colours.h"

using namespace vistazo::apps;

namespace {

bool is_inside(const Rect& rect, Size picture) {
  return rect.left >= 0 && rect.top >= 0 && rect.right <= picture.width && rect.bottom <= picture.height;
}

std::vector<Rect> random_boxes(std::size_t count, Size picture, int smallest, int largest, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<Rect> boxes;
  for (std::size_t i = 0; i < count; ++i) {
    std::uniform_int_distribution<int> side(smallest, largest);
    const int width = side(generator), height = side(generator);
    const int left = std::uniform_int_distribution<int>(0, picture.width - width)(generator);
    const int top = std::uniform_int_distribution<int>(0, picture.height - height)(generator);
    boxes.push_back({left, top, left + width, top + height});
  }
  return boxes;
}

}  // namespace

TEST_CASE("a label sits on its box, below it at the upper edge of the picture") {
  const Size picture = {400, 300};
  const std::vector<Size> label = {{80, 20}};
  const auto middle = place_labels(std::vector<Rect>{{100, 100, 200, 200}}, label, picture, false);
  REQUIRE(middle[0]);
  CHECK(middle[0]->bottom == 100);
  CHECK(middle[0]->left == 100);
  const auto top = place_labels(std::vector<Rect>{{100, 0, 200, 100}}, label, picture, false);
  REQUIRE(top[0]);
  CHECK(top[0]->top == 100);
}

TEST_CASE("labels stay inside the picture and every box of a sparse picture has one") {
  const Size picture = {320, 240};
  for (unsigned seed = 0; seed < 50; ++seed) {
    const std::vector<Rect> boxes = random_boxes(12, picture, 5, 200, seed);
    const std::vector<Size> labels(boxes.size(), {90, 16});
    for (const auto& place : place_labels(boxes, labels, picture, false)) {
      REQUIRE(place);
      CHECK(is_inside(*place, picture));
    }
  }
}

TEST_CASE("labels of a crowded picture hide neither each other nor more than a sliver of a box") {
  const Size picture = {640, 480};
  for (unsigned seed = 0; seed < 20; ++seed) {
    const std::vector<Rect> boxes = random_boxes(120, picture, 8, 120, seed);
    const std::vector<Size> labels(boxes.size(), {60, 12});
    const auto places = place_labels(boxes, labels, picture, true);
    std::size_t count = 0;
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      if (!places[i]) continue;
      ++count;
      CHECK(boxes[i].width() >= labels[i].width);
      for (std::size_t k = 0; k < boxes.size(); ++k) {
        if (k < i && places[k]) CHECK(20 * overlap_area(*places[i], *places[k]) <= area_of(*places[i]));
        // 5% of the label, each pixel counted at least as a tenth
        if (k != i) CHECK(2 * overlap_area(*places[i], boxes[k]) <= area_of(*places[i]));
      }
    }
    CHECK(count < boxes.size());
  }
}

TEST_CASE("many boxes, or many small ones, are a crowd") {
  const std::vector<Size> labels(100, {60, 12});
  const Rect large = {0, 0, 100, 100}, small = {0, 0, 20, 20};
  const auto crowd = [&](std::size_t large_count, std::size_t small_count) {
    std::vector<Rect> boxes(large_count, large);
    boxes.insert(boxes.end(), small_count, small);
    return is_crowded(boxes, std::span(labels).first(boxes.size()));
  };
  CHECK_FALSE(crowd(0, 0));
  CHECK_FALSE(crowd(40, 0));
  CHECK(crowd(41, 0));
  CHECK_FALSE(crowd(0, 3));
  CHECK_FALSE(crowd(10, 9));
  CHECK(crowd(9, 10));
}

TEST_CASE("the legend takes the corner with the fewest boxes") {
  const Size picture = {400, 400}, legend = {100, 60};
  const std::vector<Rect> boxes = {{0, 0, 150, 150}, {250, 0, 400, 150}, {0, 250, 150, 400}};
  const Rect corner = emptiest_corner(boxes, legend, picture, 4);
  CHECK(corner.right == 396);
  CHECK(corner.bottom == 396);
}

TEST_CASE("the colours of the first 21 classes differ and their text has contrast") {
  for (int a = 0; a < 21; ++a) {
    for (int b = 0; b < a; ++b) CHECK(class_colour(a) != class_colour(b));
  }
  CHECK(needs_black_text({255, 255, 0}));
  CHECK_FALSE(needs_black_text({0, 0, 128}));
  CHECK(class_colour(-1) == class_colour(0));
}
