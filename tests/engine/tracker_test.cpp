#include <doctest/doctest.h>
#include <vistazo/error.h>
#include <vistazo/tracker.h>

#include <random>
#include <set>

namespace vistazo {
namespace {

Detection seen(float x, float y, float score = 0.9f, float side = 20) {
  return {{x, y, x + side, y + side}, score, 0};
}

std::vector<std::int64_t> update(Tracker& tracker, std::initializer_list<Detection> detections, int frames = 1) {
  return tracker.update(std::vector(detections), frames);
}

using Ids = std::vector<std::int64_t>;

TEST_CASE("tracker: an object that moves keeps its id") {
  Tracker tracker;
  for (int frame = 0; frame < 50; ++frame)
    CHECK(update(tracker, {seen(5.0f * static_cast<float>(frame), 40)}) == Ids{1});
}

TEST_CASE("tracker: ids follow the objects, whatever the order of the detections") {
  Tracker tracker;
  CHECK(update(tracker, {seen(0, 0), seen(100, 0)}) == Ids{1, 2});
  CHECK(update(tracker, {seen(101, 0), seen(1, 0)}) == Ids{2, 1});
  CHECK(update(tracker, {}).empty());
  CHECK(update(tracker, {seen(2, 0), seen(102, 0)}) == Ids{1, 2});
}

TEST_CASE("tracker: an object with two classes is one object, the better one") {
  const Detection car{{10, 10, 50, 30}, 0.8f, 2}, truck{{10, 10, 50, 30}, 0.6f, 7};
  const Detection shifted{{12, 10, 52, 30}, 0.5f, 7};  // IoU 0.905
  const Detection behind{{20, 10, 60, 30}, 0.4f, 2};   // 0.6
  Detections detections{car, truck, shifted, behind};
  keep_best_of_place(detections, 0.85f);
  REQUIRE(detections.size() == 2);
  CHECK(detections[0].class_id == 2);
  CHECK(detections[0].score == 0.8f);
  CHECK(detections[1].score == 0.4f);
  Tracker tracker;
  CHECK(tracker.update(detections) == Ids{1, Tracker::kNone});
  detections = {car, truck, shifted, behind};
  keep_best_of_place(detections, 1.0f);
  CHECK(detections.size() == 4);
}

TEST_CASE("tracker: a prediction carries an object through a gap") {
  Tracker tracker;
  float x = 0;
  for (int frame = 0; frame < 20; ++frame, x += 6) CHECK(update(tracker, {seen(x, 0)}) == Ids{1});
  for (int frame = 0; frame < 10; ++frame, x += 6) update(tracker, {});  // 60 pixels: three times its width
  CHECK(update(tracker, {seen(x, 0)}) == Ids{1});
}

TEST_CASE("tracker: skipped frames count as time") {
  Tracker one_by_one, skipping;
  for (int frame = 0; frame <= 40; ++frame) {
    const Detection detection = seen(4.0f * static_cast<float>(frame), 0);
    CHECK(update(one_by_one, {detection}) == Ids{1});
    if (frame % 2 == 0) CHECK(update(skipping, {detection}, frame == 0 ? 1 : 2) == Ids{1});
  }
}

TEST_CASE("tracker: after the first frame, a second sight confirms an object") {
  Tracker tracker;
  update(tracker, {});
  CHECK(update(tracker, {seen(50, 50)}) == Ids{Tracker::kNone});
  CHECK(update(tracker, {seen(51, 50)}) == Ids{1});
  CHECK(update(tracker, {seen(52, 50), seen(200, 0)}) == Ids{1, Tracker::kNone});
  CHECK(update(tracker, {seen(53, 50)}) == Ids{1});
  CHECK(update(tracker, {seen(54, 50), seen(200, 0)}) ==
        Ids{1, Tracker::kNone});  // the sight before it was too long ago
}

TEST_CASE("tracker: uncertain detections continue tracks and start none") {
  Tracker tracker;
  CHECK(update(tracker, {seen(0, 0)}) == Ids{1});
  CHECK(update(tracker, {seen(1, 0, 0.2f), seen(100, 0, 0.2f)}) == Ids{1, Tracker::kNone});
  CHECK(update(tracker, {seen(2, 0, 0.2f), seen(101, 0, 0.2f)}) == Ids{1, Tracker::kNone});
  CHECK(update(tracker, {seen(3, 0, 0.05f)}) == Ids{Tracker::kNone});  // below low_score it does not count
  CHECK(update(tracker, {seen(4, 0, 0.2f)}) == Ids{Tracker::kNone});   // an uncertain one does not end a gap
  CHECK(update(tracker, {seen(5, 0)}) == Ids{1});
}

TEST_CASE("tracker: a track unseen for too long is given up") {
  TrackerOptions options;
  options.max_lost_frames = 5;
  for (const int gap : {5, 6}) {
    Tracker tracker(options);
    for (int i = 0; i < 3; ++i) CHECK(update(tracker, {seen(0, 0)}) == Ids{1});
    for (int i = 1; i < gap; ++i) update(tracker, {});
    const Ids ids = update(tracker, {seen(0, 0)});
    // The detection itself may end a gap of max_lost_frames + 1, the frame in which it is found included.
    CHECK(ids == Ids{1});
  }
  Tracker tracker(options);
  for (int i = 0; i < 3; ++i) update(tracker, {seen(0, 0)});
  for (int i = 0; i < 6; ++i) update(tracker, {});
  CHECK(update(tracker, {seen(0, 0)}) == Ids{Tracker::kNone});
  CHECK(update(tracker, {seen(0, 0)}) == Ids{2});  // a new id
}

TEST_CASE("tracker: a margin finds objects that jump further than their size") {
  for (const bool has_margin : {false, true}) {
    TrackerOptions options;
    options.margin = has_margin ? 1.0f : 0.0f;
    Tracker tracker(options);
    CHECK(update(tracker, {seen(0, 0)}) == Ids{1});
    CHECK((update(tracker, {seen(25, 0)}) == Ids{1}) == has_margin);
  }
}

TEST_CASE("tracker: crowds of noisy, sometimes missing objects keep their ids") {
  std::minstd_rand random(7);
  const auto uniform = [&](float low, float high) { return std::uniform_real_distribution<float>(low, high)(random); };
  Tracker tracker;
  std::vector<std::set<std::int64_t>> ids_of(40);
  for (int frame = 0; frame < 100; ++frame) {
    std::vector<Detection> detections;
    std::vector<std::size_t> object;
    for (std::size_t i = 0; i < ids_of.size(); ++i) {
      if (frame > 0 && uniform(0, 1) < 0.2f) continue;
      const float x = static_cast<float>(i % 8) * 60 + static_cast<float>(frame) * 1.5f,
                  y = static_cast<float>(i / 8) * 60;
      detections.push_back(seen(x + uniform(-1, 1), y + uniform(-1, 1), uniform(0.6f, 1)));
      object.push_back(i);
    }
    const Ids ids = tracker.update(detections);
    for (std::size_t d = 0; d < ids.size(); ++d) ids_of[object[d]].insert(ids[d]);
  }
  std::set<std::int64_t> all;
  for (const auto& ids : ids_of) {
    CHECK(ids.size() == 1);
    all.insert(ids.begin(), ids.end());
  }
  CHECK(all.size() == ids_of.size());
}

TEST_CASE("tracker: degenerate boxes do no harm") {
  Tracker tracker;
  const Detection empty{{5, 5, 5, 5}, 0.9f, 0};
  CHECK(update(tracker, {empty}) == Ids{1});
  update(tracker, {empty, empty, seen(0, 0)});
  CHECK(update(tracker, {seen(0, 0)}).size() == 1);
}

TEST_CASE("tracker: options outside their ranges are refused by name") {
  TrackerOptions options;
  options.high_score = 0.05f;
  CHECK_THROWS_WITH_AS(Tracker{options}, "TrackerOptions: high_score is 0.05; low_score or more is wanted", Error);
  options = {};
  options.margin = -1;
  CHECK_THROWS_AS(Tracker{options}, Error);
  Tracker tracker;
  CHECK_THROWS_WITH_AS(update(tracker, {}, 0), "Tracker: 0 frames passed; 1 or more is wanted", Error);
}

}  // namespace
}  // namespace vistazo
