#include "apps/annotate.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "apps/colours.h"

#ifdef VISTAZO_HAS_OPENCV

using namespace vistazo;
using namespace vistazo::apps;

namespace {

Picture grey_picture(int width, int height) {
  const auto bytes = static_cast<std::size_t>(3 * width * height);
  std::shared_ptr<std::uint8_t> pixels(new std::uint8_t[bytes], std::default_delete<std::uint8_t[]>());
  std::memset(pixels.get(), 128, bytes);
  return {pixels, width, height, 3 * width, true};
}

Colour colour_at(const Picture& picture, int x, int y) {
  const std::uint8_t* bgr = picture.pixels.get() + y * picture.row_bytes + 3 * x;
  return {bgr[2], bgr[1], bgr[0]};
}

const std::vector<std::string> kNames = {"cell", "a rather long name of a class"};

}  // namespace

TEST_CASE("a box is drawn in the colour of its class, inside its bounds; the original stays as it is") {
  const Picture picture = grey_picture(300, 200);
  const Picture drawn = draw_detections(picture, {{{100, 80, 200, 160}, 0.9f, 1}}, kNames);
  CHECK(colour_at(drawn, 100, 120) == class_colour(1));
  CHECK(colour_at(drawn, 199, 120) == class_colour(1));
  CHECK(colour_at(drawn, 150, 159) == class_colour(1));
  CHECK(colour_at(drawn, 99, 120) == Colour{128, 128, 128});
  CHECK(colour_at(drawn, 200, 120) == Colour{128, 128, 128});
  CHECK(colour_at(drawn, 150, 120) == Colour{128, 128, 128});
  CHECK(colour_at(picture, 100, 120) == Colour{128, 128, 128});
}

TEST_CASE("boxes of any size and place, classes without a name and tiny pictures can be drawn") {
  for (int side : {1, 2, 7, 40, 300}) {
    const auto size = static_cast<float>(side);
    const Detections detections = {{{0, 0, size, size}, 1.0f, 0},
                                   {{size - 0.4f, size - 0.4f, size, size}, 0.5f, 99},
                                   {{0.2f, 0.2f, 0.3f, 0.3f}, 0.1f, -1},
                                   {{size / 2, 0, size, size / 2}, 0.1f, 1}};
    CHECK(draw_detections(grey_picture(side, side), detections, kNames).width == side);
    Detections many;
    for (int i = 0; i < 100; ++i) many.push_back(detections[static_cast<std::size_t>(i) % detections.size()]);
    CHECK(draw_detections(grey_picture(side, side), many, kNames).height == side);
  }
}

TEST_CASE("a crowded picture gets a legend in an empty corner") {
  Detections many;
  for (int i = 0; i < 60; ++i) {
    const auto x = static_cast<float>(10 + 8 * (i % 30)), y = static_cast<float>(10 + 8 * (i / 30));
    many.push_back({{x, y, x + 6, y + 6}, 0.5f, 0});
  }
  const Picture drawn = draw_detections(grey_picture(400, 300), many, kNames);
  int panel = 0;  // dark pixels to the right of all boxes
  for (int y = 0; y < 300; ++y) {
    for (int x = 260; x < 400; ++x) panel += colour_at(drawn, x, y)[0] < 60;
  }
  CHECK(panel > 300);
}

#endif
