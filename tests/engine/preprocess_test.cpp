#include "engine/preprocess.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "kernels/base/error.h"
#include "weights/config_reader.h"
#include "weights/json_file.h"

namespace vistazo {
namespace {

Preprocessing read(const std::string& json) {
  ModelTraits traits;
  traits.input = {64, 96};
  traits.mean[0] = 0.5f;
  return read_preprocessing(ConfigReader(parse_json(json, "test"), "test"), traits);
}

TEST_CASE("a processor's size is the model's input") {
  const Preprocessing p = read(R"({"size": {"height": 512, "width": 384}, "image_mean": [0.1, 0.2, 0.3],
                                   "image_std": [1, 2, 4], "rescale_factor": 0.5})");
  CHECK(p.fit == Preprocessing::Fit::stretch);
  CHECK(p.input.height == 512);
  CHECK(p.input.width == 384);
  CHECK(p.rescale == 0.5f);
  CHECK(p.mean[1] == doctest::Approx(0.2));
  CHECK(p.std[2] == 4.0f);
  CHECK(p.antialias);
}

TEST_CASE("without a size the model's own is taken, without normalisation only the rescaling is left") {
  const Preprocessing p = read(R"({"do_normalize": false, "antialias": false})");
  CHECK(p.input.height == 64);
  CHECK(p.input.width == 96);
  CHECK(p.mean[0] == 0.0f);
  CHECK(p.std[0] == 1.0f);
  CHECK(p.rescale == doctest::Approx(1.0 / 255));
  CHECK_FALSE(p.antialias);
}

TEST_CASE("an absent mean is the family's") {
  const Preprocessing p = read("{}");
  CHECK(p.mean[0] == 0.5f);
  CHECK(p.std[1] == 1.0f);
}

TEST_CASE("what cannot be done as the file says is refused by name") {
  const auto message = [](const char* json) -> std::string {
    try {
      read(json);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  const std::string means = R"("do_normalize": false, )";
  CHECK(message(("{" + means + R"("resample": 3})").c_str()).find("resample") != std::string::npos);
  CHECK(message(("{" + means + R"("do_resize": false})").c_str()).find("do_resize") != std::string::npos);
  CHECK(message(R"({"image_mean": [1, 2], "image_std": [1, 1, 1]})").find("image_mean") != std::string::npos);
  CHECK(message(R"({"image_mean": [0, 0, 0], "image_std": [1, 0, 1]})").find("image_std") != std::string::npos);
  CHECK(message(("{" + means + R"("size": {"height": 0, "width": 5}})").c_str()).find("size.height") !=
        std::string::npos);
}

TEST_CASE("stretching fills the canvas") {
  const Preprocessing p{.input = {64, 96}};
  const Placement placement = place(p, {1000, 10}, 32);
  CHECK(placement.canvas.height == 64);
  CHECK(placement.image.width == 96);
  CHECK(placement.left == 0);
}

TEST_CASE("letterboxing keeps the aspect ratio, at the corner or in the middle") {
  Preprocessing p = read(R"({"do_normalize": false, "size": {"max_height": 100, "max_width": 100}, "do_pad": true,
                             "pad_size": {"height": 100, "width": 100}})");
  CHECK(p.fit == Preprocessing::Fit::letterbox);
  Placement placement = place(p, {50, 200}, 1);
  CHECK(placement.image.height == 25);
  CHECK(placement.image.width == 100);
  CHECK(placement.top == 0);
  p = read(R"({"do_normalize": false, "size": {"height": 100, "width": 100}, "letterbox": "center"})");
  placement = place(p, {50, 200}, 1);
  CHECK(placement.top == 37);
  CHECK(placement.canvas.height == 100);
  CHECK(place(p, {1, 5000}, 1).image.height == 1);
}

TEST_CASE("the shortest edge decides unless the longest would be passed") {
  const Preprocessing p = read(R"({"do_normalize": false, "size": {"shortest_edge": 80, "longest_edge": 133}})");
  Placement placement = place(p, {400, 500}, 32);
  CHECK(placement.image.height == 80);
  CHECK(placement.image.width == 100);
  CHECK(placement.canvas.height == 96);
  CHECK(placement.canvas.width == 128);
  placement = place(p, {400, 4000}, 32);
  CHECK(placement.image.width == 133);
  CHECK(placement.canvas.width == 160);
}

}  // namespace
}  // namespace vistazo
