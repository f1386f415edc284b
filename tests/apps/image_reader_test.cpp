#include "apps/image_reader.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#ifdef VISTAZO_HAS_OPENCV

using namespace vistazo::apps;

namespace {

const std::string kImages = VISTAZO_TEST_DATA "/images/";

std::vector<Input> many_inputs() {
  std::vector<Input> inputs;
  for (int i = 0; i < 60; ++i) {
    const char* const names[] = {"rgba.png", "rgb.jpg", "text.jpg", "exif_orientation_6.jpg"};
    inputs.push_back({kImages + names[i % 4], i % 10 == 7 ? "refused before" : ""});
  }
  return inputs;
}

}  // namespace

TEST_CASE("images come in the order of the inputs, with any number of threads") {
  const std::vector<Input> inputs = many_inputs();
  for (int threads : {1, 3, 8}) {
    for (int depth : {1, 2, 100}) {
      ImageReader reader(inputs, depth, threads);
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const auto image = reader.next();
        REQUIRE(image);
        CHECK(image->index == i);
        CHECK(image->error.empty() == (i % 4 != 2 && i % 10 != 7));
        CHECK((image->picture.width > 0) == image->error.empty());
        if (i % 10 == 7) CHECK(image->error == "refused before");
      }
      CHECK_FALSE(reader.next());
    }
  }
}

TEST_CASE("a reader may be left before its end") {
  for (int taken = 0; taken < 5; ++taken) {
    ImageReader reader(many_inputs(), 3, 2);
    for (int i = 0; i < taken; ++i) CHECK(reader.next());
  }
  ImageReader nothing({}, 3, 2);
  CHECK_FALSE(nothing.next());
}

#endif
