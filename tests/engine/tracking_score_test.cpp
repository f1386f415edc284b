#include <doctest/doctest.h>
#include <vistazo/error.h>
#include <vistazo/tracking_score.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace vistazo {
namespace {

std::vector<IdentifiedBox> boxes_of(const nlohmann::json& rows) {
  std::vector<IdentifiedBox> boxes;
  for (const auto& row : rows) {
    const auto at = [&](std::size_t i) { return row[i].get<float>(); };
    boxes.push_back({row[0].get<std::int64_t>(), {at(1), at(2), at(1) + at(3), at(2) + at(4)}});
  }
  return boxes;
}

TEST_CASE("tracking score: what py-motmetrics says of random tracks") {
  std::ifstream file(VISTAZO_TEST_DATA "/tracking/score.json");
  const nlohmann::json cases = nlohmann::json::parse(file);
  REQUIRE(cases.size() == 3);
  for (const auto& sequence : cases) {
    TrackingScorer scorer;
    for (const auto& frame : sequence["frames"]) scorer.add_frame(boxes_of(frame["truths"]), boxes_of(frame["found"]));
    const TrackingScore score = scorer.score();
    const auto& expected = sequence["expected"];
    CHECK(score.mota == doctest::Approx(expected["mota"].get<double>()).epsilon(1e-9));
    CHECK(score.idf1 == doctest::Approx(expected["idf1"].get<double>()).epsilon(1e-9));
    CHECK(score.truths == expected["truths"].get<double>());
    CHECK(score.found == expected["found"].get<double>());
    CHECK(score.misses == expected["misses"].get<double>());
    CHECK(score.false_positives == expected["false_positives"].get<double>());
    CHECK(score.switches == expected["switches"].get<double>());
  }
}

TEST_CASE("tracking score: nothing, and an id twice") {
  TrackingScorer scorer;
  CHECK(scorer.score().mota == 0);
  CHECK(scorer.score().idf1 == 0);
  const std::vector<IdentifiedBox> twice(2, {4, {0, 0, 1, 1}});
  CHECK_THROWS_WITH_AS(scorer.add_frame({}, twice), "TrackingScorer: id 4 appears twice among the tracks of a frame",
                       Error);
}

}  // namespace
}  // namespace vistazo
