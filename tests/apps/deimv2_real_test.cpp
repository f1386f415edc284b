// From the image file to the boxes: published DEIMv2 checkpoints against ONNX Runtime on the published ONNX files.
#ifdef VISTAZO_HAS_OPENCV

#include <doctest/doctest.h>
#include <vistazo/detector.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "apps/image_io.h"
#include "engine/postprocess.h"

namespace vistazo::apps {
namespace {

namespace fs = std::filesystem;

// $VISTAZO_PUBLISHED_WEIGHTS/<name>/model.safetensors and, in reference/, images with a JSON file of boxes, labels and
// scores each. Those of Femto are taken from its ONNX file by tests/data/weights_of_onnx.py.
TEST_CASE("published DEIMv2 checkpoints find what ONNX Runtime finds") {
  constexpr float kMinScore = 0.2f, kScoreTolerance = 0.005f;
  const char* root = std::getenv("VISTAZO_PUBLISHED_WEIGHTS");
  if (!root) {
    MESSAGE("skipped: VISTAZO_PUBLISHED_WEIGHTS names no folder");
    return;
  }
  for (const std::string name : {"deimv2_atto", "deimv2_femto"}) {
    const fs::path folder = fs::path(root) / name;
    if (!fs::exists(folder / "model.safetensors")) {
      MESSAGE("skipped: no ", name);
      continue;
    }
    Options options;
    options.device = Device::cpu;
    options.precision = Precision::f32;
    options.min_score = kMinScore - kScoreTolerance;
    const Detector detector = Detector::load(folder / "model.safetensors", options);
    int compared = 0;
    double worst_iou = 1.0, largest_difference = 0.0;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder / "reference")) {
      if (entry.path().extension() != ".json") continue;
      CAPTURE(entry.path().filename().string());
      const auto reference = nlohmann::json::parse(std::ifstream(entry.path()));
      const Picture picture = read_picture(fs::path(entry.path()).replace_extension(".jpg").string());
      Detections found = detector.detect(picture.view());
      for (std::size_t i = 0; i < reference.at("scores").size(); ++i) {
        const float score = reference.at("scores")[i].get<float>();
        if (score < kMinScore) continue;
        const auto side = [&](std::size_t j, int size) {
          return std::clamp(reference.at("boxes")[4 * i + j].get<float>(), 0.0f, static_cast<float>(size));
        };
        const Box box{side(0, picture.width), side(1, picture.height), side(2, picture.width), side(3, picture.height)};
        const auto best = std::ranges::max_element(found, {}, [&](const Detection& d) {
          return d.class_id == reference.at("labels")[i].get<int>() ? box_iou(d.box, box) : -1.0f;
        });
        REQUIRE(best != found.end());
        worst_iou = std::min<double>(worst_iou, box_iou(best->box, box));
        largest_difference = std::max<double>(largest_difference, std::abs(best->score - score));
        found.erase(best);  // one of ours for each of theirs
        ++compared;
      }
      // What is left of ours is within the tolerance of the threshold.
      CHECK(std::ranges::all_of(found, [&](const Detection& d) { return d.score < kMinScore + kScoreTolerance; }));
    }
    CHECK(compared >= 50);
    CHECK(worst_iou >= 0.99);
    CHECK(largest_difference <= static_cast<double>(kScoreTolerance));
    MESSAGE(name, ": ", compared, " detections, IoU at least ", worst_iou, ", scores within ", largest_difference);
  }
}

}  // namespace
}  // namespace vistazo::apps

#endif
