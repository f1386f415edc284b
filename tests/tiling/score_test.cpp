#include "tests/tiling/score.h"

#include <doctest/doctest.h>

namespace vistazo::apps {
namespace {

constexpr std::int64_t kCategory = 7;  // class 0

CocoTruth truth(double x, double y, double side) {
  CocoTruth result;
  result.category_id = kCategory;
  result.box = {x, y, side, side};
  return result;
}

CocoDetection detection(double x, double y, double side, double score, std::int64_t category = 0) {
  CocoDetection result;
  result.category_id = category;
  result.box = {x, y, side, side};
  result.score = score;
  return result;
}

// Only what begins right of here counts.
constexpr double kBorder = 100;

Score score(const std::vector<CocoTruth>& truths, const std::vector<CocoDetection>& detections) {
  return score_detections(
      truths, detections, [](const CocoBox& box) { return box.x >= kBorder; }, kCategory);
}

TEST_CASE("mosaic score: right, wrong, missed and told twice") {
  const Score s = score({truth(200, 200, 40), truth(500, 200, 40), truth(530, 600, 40)},
                        {detection(202, 200, 40, 0.5), detection(200, 200, 40, 0.9), detection(500, 200, 40, 0.9, 1),
                         detection(800, 200, 40, 0.9), detection(525, 595, 40, 0.4)});
  CHECK(s.truths == 3);
  CHECK(s.detections == 5);
  CHECK(s.found == 2);
  CHECK(s.duplicates == 1);
}

TEST_CASE("mosaic score: what lies at a border counts neither as right nor as wrong") {
  const std::vector<CocoTruth> at_border = {truth(98, 200, 40)};
  CHECK(score(at_border, {detection(101, 200, 40, 0.9)}).detections == 0);  // its truth does not count
  CHECK(score(at_border, {detection(101, 200, 40, 0.9), detection(102, 200, 40, 0.8)}).detections == 0);
  CHECK(score(at_border, {detection(20, 200, 40, 0.9)}).detections == 0);
  CHECK(score(at_border, {}).truths == 0);
  const Score inside = score({truth(101, 200, 40)}, {detection(98, 200, 40, 0.9), detection(97, 200, 40, 0.8)});
  CHECK(inside.found == 1);  // a truth that counts is found wherever the detection begins
  CHECK(inside.detections == 1);
  // One that counts is taken first, though the other agrees better.
  CHECK(score({truth(98, 200, 40), truth(106, 200, 40)}, {detection(99, 200, 40, 0.9)}).found == 1);
}

TEST_CASE("mosaic places: borders, stains and windows") {
  const Json truth = {
      {"cells", 8}, {"block", 4}, {"blocks", 2}, {"colours", {{0, 0, 0}, {0, 0, 20}, {0, 0, 0}, {0, 0, 41}}}};
  const MosaicPlaces places(truth, 512, 0.2f);
  CHECK(places.is_at_border({512 + 31, 700, 50, 50}));
  CHECK(!places.is_at_border({512 + 32, 700, 50, 50}));
  CHECK(places.is_at_border({700, 1024 - 31 - 50, 50, 50}));
  CHECK(!places.shows_two_stains({2100, 1000, 50, 50}));  // beside a block 20 levels off
  CHECK(places.shows_two_stains({3000, 1600, 50, 50}));   // less than 512 above one 21 levels off
  CHECK(!places.shows_two_stains({3000, 1500, 50, 50}));
  CHECK(!places.is_in_several_windows({300, 300, 50, 50}));  // the second window begins at 398
  CHECK(places.is_in_several_windows({300, 300, 99, 50}));
}

}  // namespace
}  // namespace vistazo::apps
