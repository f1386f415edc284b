// From the image file to the boxes: the shipped model against Hugging Face's processor, model and post-processing.
#ifdef VISTAZO_HAS_OPENCV

#include <doctest/doctest.h>
#include <vistazo/detector.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "apps/image_io.h"
#include "engine/postprocess.h"

namespace vistazo::apps {
namespace {

namespace fs = std::filesystem;

TEST_CASE("the shipped model finds in a file what the original implementation finds") {
  Options options;
  options.device = Device::cpu;
  options.precision = Precision::f32;
  options.min_score = 0.29f;  // the reference's threshold is 0.3, and scores may differ by 0.01
  const Detector detector = Detector::load(fs::path(VISTAZO_WEIGHTS) / "cells", options);
  for (const std::string name : {"dsb_00565", "txl_01021", "txl_01213"}) {
    CAPTURE(name);
    const fs::path stem = fs::path(VISTAZO_TEST_DATA) / "cells_real" / name;
    const Picture picture = read_picture(stem.string() + ".jpg");
    Detections found = detector.detect(picture.view());
    const auto reference = nlohmann::json::parse(std::ifstream(stem.string() + ".json"));
    REQUIRE(reference.size() >= 8);
    double worst_iou = 1.0, largest_difference = 0.0;
    for (const auto& wanted : reference) {
      const auto side = [&](int i, int size) {
        return std::clamp(wanted.at("box").at(static_cast<std::size_t>(i)).get<float>(), 0.0f,
                          static_cast<float>(size));
      };
      const Box box{side(0, picture.width), side(1, picture.height), side(2, picture.width), side(3, picture.height)};
      const auto best = std::ranges::max_element(found, {}, [&](const Detection& d) {
        return d.class_id == wanted.at("label").get<int>() ? box_iou(d.box, box) : -1.0f;
      });
      REQUIRE(best != found.end());
      worst_iou = std::min<double>(worst_iou, box_iou(best->box, box));
      largest_difference = std::max(largest_difference, std::abs(best->score - wanted.at("score").get<double>()));
      found.erase(best);  // one of ours for each of theirs
    }
    CHECK(worst_iou >= 0.99);
    CHECK(largest_difference <= 0.01);
    // What is left of ours is within the tolerance of the threshold.
    CHECK(std::ranges::all_of(found, [](const Detection& d) { return d.score < 0.31f; }));
    MESSAGE(name, ": ", reference.size(), " detections, IoU at least ", worst_iou, ", scores within ",
            largest_difference);
  }
}

}  // namespace
}  // namespace vistazo::apps

#endif
