#include "apps/coco_eval.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "apps/coco_file.h"

using namespace vistazo::apps;

namespace {

const std::string kData = VISTAZO_TEST_DATA "/coco_eval/";

struct Ids {
  std::vector<std::int64_t> images, categories;
};

Ids ids_of(const CocoFile& data) {
  Ids ids;
  for (const CocoImage& image : data.images) ids.images.push_back(image.id);
  for (const CocoCategory& category : data.categories) ids.categories.push_back(category.id);
  return ids;
}

// One image of one category: what the hand-made cases need.
CocoMetrics evaluate(const std::vector<CocoTruth>& truths, const std::vector<CocoDetection>& detections,
                     int max_detections = 100) {
  const std::vector<std::int64_t> one = {1};
  return evaluate_coco(truths, detections, one, one, max_detections);
}

CocoTruth truth(CocoBox box, bool is_crowd = false) {
  return {1, 1, box, box.width * box.height, is_crowd};
}
CocoDetection detection(CocoBox box, double score) {
  return {1, 1, box, score};
}

}  // namespace

TEST_CASE("metrics equal those of pycocotools") {
  const CocoFile data = read_coco_file(kData + "gt.json");
  const std::vector<CocoDetection> detections = read_coco_detections(kData + "detections.json");
  const Ids ids = ids_of(data);
  std::ifstream stream(kData + "expected.json");
  const auto expected = nlohmann::json::parse(stream);
  constexpr double kTolerance = 1e-9;  // the same sums in another order
  REQUIRE(expected["evaluations"].size() >= 2);
  for (const auto& evaluation : expected["evaluations"]) {
    const int max_detections = evaluation["max_detections"].back();
    CAPTURE(max_detections);
    const CocoMetrics metrics = evaluate_coco(data.truths, detections, ids.images, ids.categories, max_detections);
    const auto& summary = evaluation["summary"];
    const auto agrees = [&](const char* name, double value) {
      CAPTURE(name);
      CHECK(std::abs(value - summary[name].get<double>()) < kTolerance);
    };
    agrees("AP", metrics.ap);
    agrees("AP50", metrics.ap50);
    agrees("AP75", metrics.ap75);
    agrees("AP_small", metrics.ap_small);
    agrees("AP_medium", metrics.ap_medium);
    agrees("AP_large", metrics.ap_large);
    agrees("AR_max", metrics.ar);
    agrees("AR_small", metrics.ar_small);
    agrees("AR_medium", metrics.ar_medium);
    agrees("AR_large", metrics.ar_large);
    for (int fewer : {1, 10}) {
      const auto with_fewer = evaluate_coco(data.truths, detections, ids.images, ids.categories, fewer);
      agrees(fewer == 1 ? "AR_1" : "AR_10", with_fewer.ar);
    }
    REQUIRE(evaluation["categories"].size() == metrics.categories.size());
    for (std::size_t i = 0; i < metrics.categories.size(); ++i) {
      const auto& category = evaluation["categories"][i];
      CAPTURE(i);
      CHECK(category["category_id"] == metrics.categories[i].category_id);
      CHECK(std::abs(metrics.categories[i].ap - category["AP"].get<double>()) < kTolerance);
      CHECK(std::abs(metrics.categories[i].ap50 - category["AP50"].get<double>()) < kTolerance);
      CHECK(std::abs(metrics.categories[i].ar - category["AR_max"].get<double>()) < kTolerance);
    }
  }
}

TEST_CASE("the order of the images given does not matter, that of equal scores in one does") {
  const CocoFile data = read_coco_file(kData + "gt.json");
  const std::vector<CocoDetection> detections = read_coco_detections(kData + "detections.json");
  Ids ids = ids_of(data);
  const CocoMetrics metrics = evaluate_coco(data.truths, detections, ids.images, ids.categories);
  std::ranges::reverse(ids.images);
  CHECK(evaluate_coco(data.truths, detections, ids.images, ids.categories).ap == metrics.ap);

  const CocoBox box = {0, 0, 50, 50}, elsewhere = {200, 200, 50, 50};
  const CocoMetrics right_first = evaluate({truth(box)}, {detection(box, 0.5), detection(elsewhere, 0.5)});
  const CocoMetrics wrong_first = evaluate({truth(box)}, {detection(elsewhere, 0.5), detection(box, 0.5)});
  CHECK(right_first.ap == doctest::Approx(1.0));
  CHECK(wrong_first.ap == doctest::Approx(0.5));
}

TEST_CASE("detections in a crowd region are neither right nor wrong, however many") {
  const CocoBox object = {0, 0, 50, 50}, crowd = {100, 100, 200, 200};
  const std::vector<CocoDetection> detections = {detection({110, 110, 20, 20}, 0.9), detection({150, 150, 30, 30}, 0.8),
                                                 detection(object, 0.7)};
  const CocoMetrics metrics = evaluate({truth(object), truth(crowd, true)}, detections);
  CHECK(metrics.ap == doctest::Approx(1.0));
  CHECK(metrics.categories[0].truths == 1);
  CHECK(evaluate({truth(object), truth(crowd)}, detections).ap < 0.5);
}

TEST_CASE("one detection finds one object; a second one on it is wrong") {
  const CocoBox box = {0, 0, 50, 50};
  const std::vector<CocoTruth> truths = {truth(box), truth({300, 0, 50, 50})};
  const CocoMetrics metrics = evaluate(truths, {detection(box, 0.9), detection(box, 0.8)});
  CHECK(metrics.ar == doctest::Approx(0.5));
  CHECK(metrics.ap == doctest::Approx(51.0 / 101.0));  // recalls 0.00 to 0.50
}

TEST_CASE("only the best max_detections of an image count") {
  const CocoBox box = {0, 0, 50, 50};
  const std::vector<CocoDetection> detections = {detection({400, 0, 50, 50}, 0.9), detection(box, 0.8)};
  CHECK(evaluate({truth(box)}, detections, 1).ar == 0.0);
  CHECK(evaluate({truth(box)}, detections, 2).ar == 1.0);
}

TEST_CASE("areas are those annotated, and bounds belong to both sides") {
  CocoTruth object = truth({0, 0, 200, 200});
  object.area = 1024.0;
  const CocoMetrics metrics = evaluate({object}, {detection(object.box, 0.9)});
  CHECK(metrics.ap_small == doctest::Approx(1.0));
  CHECK(metrics.ap_medium == doctest::Approx(1.0));
  CHECK(metrics.ap_large == -1.0);
}

TEST_CASE("nothing to find is -1, nothing found is 0") {
  CHECK(evaluate({}, {}).ap == -1.0);
  CHECK(evaluate({}, {detection({0, 0, 9, 9}, 0.5)}).ap == -1.0);
  CHECK(evaluate({truth({0, 0, 9, 9})}, {}).ap == 0.0);
  CHECK(evaluate({truth({0, 0, 9, 9})}, {}).ar == 0.0);
  CHECK(evaluate({truth({0, 0, 9, 9}, true)}, {}).ap == -1.0);
}

TEST_CASE("objects of images that are not evaluated are left out") {
  CocoTruth other = truth({0, 0, 9, 9});
  other.image_id = 2;
  const CocoBox box = {5, 5, 40, 40};
  CHECK(evaluate({other, truth(box)}, {detection(box, 0.5), {3, 1, box, 0.9}}).ap == doctest::Approx(1.0));
}
