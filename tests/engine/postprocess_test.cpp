#include "engine/postprocess.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

namespace vistazo {
namespace {

float logit(float score) {
  return std::log(score / (1 - score));
}

Detections run(const std::vector<float>& logits, const std::vector<float>& boxes, int classes,
               const Selection& selection, Placement placement = {{100, 100}, 0, 0, {100, 100}},
               GridSize image = {100, 100}) {
  PostProcessor post_processor;
  Detections out;
  post_processor.run(logits, boxes, classes, placement, image, selection, out);
  return out;
}

TEST_CASE("post-processing ranks pairs of query and class, best first") {
  const std::vector<float> logits{logit(0.2f), logit(0.9f), logit(0.5f), logit(0.8f)};
  const std::vector<float> boxes{0.5f, 0.5f, 0.2f, 0.4f, 0.25f, 0.25f, 0.1f, 0.1f};
  const Detections found = run(logits, boxes, 2, {0.3f, 10, 0});
  REQUIRE(found.size() == 3);
  CHECK(found[0].score == doctest::Approx(0.9f));
  CHECK(found[0].class_id == 1);
  CHECK(found[0].box.x0 == doctest::Approx(40));
  CHECK(found[0].box.y1 == doctest::Approx(70));
  CHECK(found[1].score == doctest::Approx(0.8f));
  CHECK(found[2].score == doctest::Approx(0.5f));
  CHECK(found[2].class_id == 0);
  CHECK(found[2].box.x0 == doctest::Approx(20));
}

TEST_CASE("candidates that a device has selected become the same detections") {
  const std::vector<float> boxes{.5f, .5f, .2f, .4f, .25f, .25f, .1f, .1f, .26f, .25f, .1f, .1f};
  const std::vector<float> logits{logit(0.2f), logit(0.9f), logit(0.5f), logit(0.8f), logit(0.1f), logit(0.7f)};
  const Selection selection{0.3f, 10, 0.5f};
  const Detections expected = run(logits, boxes, 2, selection);
  std::vector<DetectionCandidate> candidates;
  for (const int index : {1, 3, 5, 2}) {  // from the best on
    const float* box = &boxes[static_cast<std::size_t>(index / 2 * 4)];
    candidates.push_back({logits[static_cast<std::size_t>(index)], index, {box[0], box[1], box[2], box[3]}});
  }
  CHECK(PostProcessor::only_threshold(selection) == doctest::Approx(logit(0.3f)));
  CHECK(!PostProcessor::only_threshold({0.3f, 10, 0, {0.5f, 0.5f}}));
  Detections found;
  PostProcessor::run_selected(candidates, 2, {{100, 100}, 0, 0, {100, 100}}, {100, 100}, selection, found);
  REQUIRE(found.size() == expected.size());
  REQUIRE(found.size() == 3);  // one of two that overlap is suppressed
  for (std::size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i].score == expected[i].score);
    CHECK(found[i].class_id == expected[i].class_id);
    CHECK(found[i].box.x0 == expected[i].box.x0);
    CHECK(found[i].box.y1 == expected[i].box.y1);
  }
}

TEST_CASE("post-processing keeps the best max_detections and breaks ties by index") {
  const std::vector<float> logits(6, 1.0f), boxes{.1f, .5f, .1f, .1f, .2f, .5f, .1f, .1f, .3f, .5f, .1f, .1f};
  const Detections found = run(logits, boxes, 2, {0.0f, 3, 0});
  REQUIRE(found.size() == 3);
  CHECK(found[0].class_id == 0);
  CHECK(found[1].class_id == 1);
  CHECK(found[2].box.x0 == doctest::Approx(15));
}

TEST_CASE("classes may have scores of their own, or be left out") {
  const std::vector<float> logits{logit(0.6f), logit(0.4f), logit(0.9f)}, boxes{.5f, .5f, .1f, .1f};
  const Detections found = run(logits, boxes, 3, {0.3f, 10, 0, {0.7f, 0.35f, 2.0f}});
  REQUIRE(found.size() == 1);
  CHECK(found[0].class_id == 1);
}

TEST_CASE("boxes are clipped to the image, empty and non-finite ones dropped") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> logits(4, 2.0f);
  const std::vector<float> boxes{0, 0, 0.5f, 0.5f, 1.5f, 0.5f, 0.2f, 0.2f, nan, 0.5f, 0.1f, 0.1f, 0.5f, 0.5f, -1, 0.1f};
  const Detections found = run(logits, boxes, 1, {0.1f, 10, 0});
  REQUIRE(found.size() == 1);
  CHECK(found[0].box.x0 == 0.0f);
  CHECK(found[0].box.x1 == doctest::Approx(25));
}

TEST_CASE("a NaN logit is no detection") {
  const std::vector<float> logits{std::numeric_limits<float>::quiet_NaN(), 3.0f};
  const std::vector<float> boxes{.5f, .5f, .1f, .1f, .5f, .5f, .1f, .1f};
  for (const float min_score : {0.0f, 0.5f}) CHECK(run(logits, boxes, 1, {min_score, 10, 0}).size() == 1);
}

TEST_CASE("letterboxed boxes come back to the image") {
  // A 200 x 100 image (height x width) on a 100 x 100 canvas: 100 x 50, centred.
  const Placement placement{{100, 100}, 0, 25, {100, 50}};
  const Detections found = run({2.0f}, {0.5f, 0.5f, 0.5f, 1.0f}, 1, {0.1f, 10, 0}, placement, {200, 100});
  REQUIRE(found.size() == 1);
  CHECK(found[0].box.x0 == doctest::Approx(0));
  CHECK(found[0].box.x1 == doctest::Approx(100));
  CHECK(found[0].box.y0 == doctest::Approx(0));
  CHECK(found[0].box.y1 == doctest::Approx(200));
}

TEST_CASE("non-maximum suppression works within a class") {
  Detections detections{
      {{0, 0, 10, 10}, 0.9f, 0}, {{0, 0, 10, 9}, 0.8f, 0}, {{0, 0, 10, 9}, 0.7f, 1}, {{20, 20, 30, 30}, 0.6f, 0}};
  suppress_overlaps(detections, 0.5f);
  REQUIRE(detections.size() == 3);
  CHECK(detections[1].class_id == 1);
  CHECK(detections[2].score == doctest::Approx(0.6f));
}

TEST_CASE("intersection over union") {
  CHECK(box_iou({0, 0, 2, 2}, {1, 1, 3, 3}) == doctest::Approx(1.0 / 7));
  CHECK(box_iou({0, 0, 2, 2}, {2, 0, 4, 2}) == 0.0f);
  CHECK(box_iou({1, 1, 1, 1}, {1, 1, 1, 1}) == 0.0f);
}

}  // namespace
}  // namespace vistazo
