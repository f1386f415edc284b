#include <doctest/doctest.h>
#include <vistazo/tiling.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <random>
#include <set>

#include "engine/seam_merger.h"
#include "engine/tile_grid.h"

namespace vistazo {
namespace {

using Merge = TilingOptions::Merge;
using Measure = TilingOptions::Measure;

TEST_CASE("windows cover the image, overlap enough and stay inside") {
  for (const auto& [width, height, side, overlap] : {std::tuple{4000, 2250, 512, 0.2f},
                                                     {513, 1, 512, 0.0f},
                                                     {512, 512, 512, 0.5f},
                                                     {40000, 700, 640, 0.9f},
                                                     {100, 3000, 512, 0.2f},
                                                     {1023, 1025, 512, 0.0f}}) {
    const TileGrid grid(width, height, side, overlap);
    CAPTURE(grid.columns());
    for (int tile = 0; tile < grid.count(); ++tile) {
      const Box area = grid.area(tile);
      CHECK((area.x0 >= 0 && area.y0 >= 0 && area.x1 <= static_cast<float>(width) &&
             area.y1 <= static_cast<float>(height)));
      CHECK(area.x1 - area.x0 == static_cast<float>(std::min(side, width)));
    }
    for (int column = 1; column < grid.columns(); ++column) {
      const int shared = grid.left(column - 1) + side - grid.left(column);
      CHECK(static_cast<float>(shared) >= overlap * static_cast<float>(side));
      CHECK(shared < side);
    }
    CHECK(grid.area(grid.count() - 1).x1 == static_cast<float>(width));
    CHECK(grid.area(grid.count() - 1).y1 == static_cast<float>(height));
    CHECK(grid.next_row_top(grid.count() - 1) == height);
  }
}

TEST_CASE("the best tile of a box is the one that shows most around it") {
  const TileGrid grid(3000, 2000, 512, 0.2f);
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    const auto at = [&](int size) { return static_cast<float>(random() % static_cast<unsigned>(size)); };
    const float x = at(2950), y = at(1950);
    const Box box{x, y, x + 50, y + 50};
    float most = -1e9f;
    for (int tile = 0; tile < grid.count(); ++tile) most = std::max(most, grid.depth(box, tile));
    CHECK(grid.depth(box, grid.best_tile(box)) == most);
  }
}

const std::vector<float> kMinScores = {0.3f, 0.3f};  // of two classes

TEST_CASE("the tiles that show something of a box, and those that show all of it") {
  const TileGrid grid(3000, 2000, 512, 0.4f);
  std::mt19937 random(4);
  for (int i = 0; i < 500; ++i) {
    const auto at = [&](unsigned size) { return static_cast<float>(random() % size); };
    const float x = at(2400), y = at(1400);
    const Box box{x, y, x + 1 + at(600), y + 1 + at(600)};
    std::vector<int> touching, showing;
    for (int tile = 0; tile < grid.count(); ++tile) {
      const Box t = grid.area(tile);
      if (t.x0 < box.x1 && t.x1 > box.x0 && t.y0 < box.y1 && t.y1 > box.y0) touching.push_back(tile);
      if (t.x0 <= box.x0 && t.x1 >= box.x1 && t.y0 <= box.y0 && t.y1 >= box.y1) showing.push_back(tile);
    }
    CHECK(grid.tiles_touching(box) == touching);
    CHECK(grid.tiles_showing(box) == showing);
  }
}

// What a flawless detector would find in a tile: every object cut off at the tile's edges, if enough of it is there.
Detections seen(const Detections& objects, const TileGrid& grid, int tile) {
  const Box area = grid.area(tile);
  Detections result;
  for (Detection d : objects) {
    const float whole = (d.box.x1 - d.box.x0) * (d.box.y1 - d.box.y0);
    d.box = {std::max(d.box.x0, area.x0), std::max(d.box.y0, area.y0), std::min(d.box.x1, area.x1),
             std::min(d.box.y1, area.y1)};
    const bool is_there = d.box.x1 > d.box.x0 && d.box.y1 > d.box.y0;
    if (is_there && (d.box.x1 - d.box.x0) * (d.box.y1 - d.box.y0) > 0.05f * whole) result.push_back(d);
  }
  return result;
}

Detections merge(const Detections& objects, const TileGrid& grid, const TilingOptions& options,
                 const Detections& large = {}) {
  SeamMerger merger(grid, options, kMinScores, large);
  Detections found;
  for (int tile = 0; tile < grid.count(); ++tile) {
    merger.add(tile, seen(objects, grid, tile));
    if ((tile + 1) % grid.columns() != 0) continue;
    const Detections finished = merger.take_finished();
    found.insert(found.end(), finished.begin(), finished.end());
  }
  return found;
}

bool is_same(const Box& a, const Box& b) {
  return a.x0 == b.x0 && a.y0 == b.y0 && a.x1 == b.x1 && a.y1 == b.y1;
}

TEST_CASE("every object is told once, whole, wherever the seams are") {
  const TileGrid grid(5000, 3000, 512, 0.2f);
  std::mt19937 random(5);
  for (const int largest : {90, 300, 1400}) {
    CAPTURE(largest);
    Detections objects;
    const int pitch = largest + 12;
    for (int y = 0; y + pitch < 3000; y += pitch) {
      for (int x = 0; x + pitch < 5000; x += pitch) {
        const auto side = [&] { return static_cast<float>(largest / 2 + static_cast<int>(random()) % (largest / 4)); };
        const float x0 = static_cast<float>(x) + 7, y0 = static_cast<float>(y) + 3;
        objects.push_back({{x0, y0, x0 + side(), y0 + side()}, 0.5f, static_cast<int>(random() % 2)});
      }
    }
    for (const Measure measure : {Measure::iou, Measure::ios}) {
      const Detections found = merge(objects, grid, {512, 0.2f, Merge::nmm, measure, 0.5f, false});
      CHECK(found.size() == objects.size());
      for (const Detection& o : objects) {
        CHECK(std::ranges::count_if(found, [&](const Detection& f) { return is_same(f.box, o.box); }) == 1);
      }
    }
  }
}

TEST_CASE("nms keeps the best part of what no tile shows whole, nmm joins the parts") {
  const TileGrid grid(1500, 500, 500, 0.2f);
  const Detections object = {{{100, 100, 1400, 300}, 0.5f, 0}};
  const Detections joined = merge(object, grid, {500, 0.2f, Merge::nmm});
  REQUIRE(joined.size() == 1);
  CHECK(is_same(joined[0].box, object[0].box));
  const Detections kept = merge(object, grid, {500, 0.2f, Merge::nms});
  CHECK(kept.size() >= 1);
  for (const Detection& d : kept) CHECK(d.box.x1 - d.box.x0 <= 500);
}

TEST_CASE("neighbours that touch stay apart, and so do classes and detections of one tile") {
  const TileGrid grid(1000, 500, 500, 0.0f);
  SeamMerger merger(grid, {500, 0.0f}, kMinScores);
  const Detection left = {{100, 100, 200, 200}, 0.9f, 0}, over_it = {{105, 100, 205, 200}, 0.8f, 0};
  merger.add(0, {left, over_it});
  merger.add(1, {{{600, 100, 700, 200}, 0.7f, 0}, {{600, 100, 700, 200}, 0.7f, 1}});
  CHECK(merger.take_finished().size() == 4);

  // Two cells side by side at a seam, in both tiles: the left one is cut by the right tile's edge.
  const TileGrid two(900, 500, 500, 0.2f);
  const Detections cells = {{{350, 100, 450, 200}, 0.9f, 0}, {{450, 100, 550, 200}, 0.9f, 0}};
  const Detections found = merge(cells, two, {500, 0.2f});
  REQUIRE(found.size() == 2);
  CHECK(is_same(found[0].box, cells[0].box));
  CHECK(is_same(found[1].box, cells[1].box));
}

TEST_CASE("what only the worse of two views shows is dropped, what the better one shows stays") {
  const TileGrid grid(900, 500, 500, 0.2f);  // tiles at 0 and 400
  SeamMerger merger(grid, {500, 0.2f}, kMinScores);
  merger.add(0, {{{455, 100, 485, 130}, 0.9f, 0}, {{410, 300, 440, 330}, 0.9f, 0}});
  merger.add(1, {});
  const Detections found = merger.take_finished();
  REQUIRE(found.size() == 1);
  CHECK(found[0].box.x0 == 410);
}

// What each of the tiles told of one object or place; the others told nothing.
struct Sight {
  int tile;
  Box box;
  float score = 0.5f;
};

Detections merge_sights(const std::vector<Sight>& sights, const TileGrid& grid, TilingOptions options = {},
                        const std::vector<float>& min_scores = kMinScores) {
  options.window = grid.side();
  SeamMerger merger(grid, options, min_scores);
  Detections objects;
  for (int tile = 0; tile < grid.count(); ++tile) {
    Detections here;
    for (const Sight& s : sights) {
      if (s.tile == tile) here.push_back({s.box, s.score, 0});
    }
    merger.add(tile, here);
    if ((tile + 1) % grid.columns() != 0) continue;
    const Detections finished = merger.take_finished();
    objects.insert(objects.end(), finished.begin(), finished.end());
  }
  return objects;
}

// The tiles of these places have found an object, with a box that agrees well enough.
std::size_t objects_found_by(const std::vector<int>& tiles, const Box& box, const TileGrid& grid, bool vote,
                             float score = 0.5f) {
  TilingOptions options;
  options.vote = vote;
  std::vector<Sight> sights;
  for (const int tile : tiles) {
    const auto shift = static_cast<float>(tile);
    sights.push_back({tile, {box.x0 + shift, box.y0, box.x1 + shift, box.y1}, score});
  }
  return merge_sights(sights, grid, options).size();
}

TEST_CASE("tiles vote with what they show of an object and around it") {
  const TileGrid grid(1000, 1000, 500, 0.5f);  // 3 x 3 tiles, 250 apart
  REQUIRE(grid.count() == 9);
  const Box middle{360, 360, 390, 390};  // in tiles 0, 1, 3 and 4, 110 and more from their edges: all have a whole vote
  CHECK(objects_found_by({0, 1, 3, 4}, middle, grid, true) == 1);
  CHECK(objects_found_by({0, 4}, middle, grid, true) == 1);
  for (const int tile : {0, 1, 3, 4}) CHECK(objects_found_by({tile}, middle, grid, true) == 0);
  CHECK(objects_found_by({0, 1}, middle, grid, false) == 1);
  // One of four is not enough however sure, two are from (2 * score + 2 * 0.15) / 4 = 0.3 on.
  CHECK(objects_found_by({0}, middle, grid, true, 0.99f) == 0);
  CHECK(objects_found_by({0, 4}, middle, grid, true, 0.46f) == 1);
  CHECK(objects_found_by({0, 4}, middle, grid, true, 0.44f) == 0);

  const Box rim{360, 100, 490, 130};  // in tile 0, 10 from its edge, and in tile 1, 110 from its own
  CHECK(objects_found_by({1}, rim, grid, true) == 1);
  CHECK(objects_found_by({0}, rim, grid, true) == 0);
  const Box corner{10, 10, 40, 40};  // only tile 0 shows it
  CHECK(objects_found_by({0}, corner, grid, true) == 1);
  CHECK(objects_found_by({0}, corner, grid, true, 0.3f) == 1);
}

TEST_CASE("tiles that show a part of an object have a say in it") {
  const TileGrid grid(900, 500, 500, 0.2f);  // tiles at 0 and 400
  // Tile 0 shows all, 5 from its edge: a say of 0.25 + 0.75 * 5 / 62.5 = 0.31. Tile 1 shows 95 of 100: 0.95 * 0.25.
  const Box box{395, 100, 495, 200};
  const auto found = [&](float score) { return merge_sights({{0, box, score}}, grid); };
  const float enough = 0.3f + 0.15f * (0.95f * 0.25f) / 0.31f;
  CHECK(found(enough + 0.01f).size() == 1);
  CHECK(found(enough - 0.01f).size() == 0);
  CHECK(merge_sights({{0, box, 0.3f}, {1, {400, 100, 495, 200}, 0.3f}}, grid).size() == 1);
  CHECK(merge_sights({{0, {295, 100, 395, 200}, 0.3f}}, grid).size() == 1);  // tile 1 shows nothing of it
}

TEST_CASE("an object's score is the mean of the tiles' by their say") {
  const TileGrid grid(1000, 1000, 500, 0.5f);
  const Box box{360, 360, 390, 390};  // four whole votes
  const Detections found = merge_sights({{0, box, 0.9f}, {1, box, 0.8f}, {4, box, 0.7f}}, grid);
  REQUIRE(found.size() == 1);
  CHECK(found[0].score == doctest::Approx((0.9 + 0.8 + 0.7 + 0.15) / 4).epsilon(1e-6));
  TilingOptions without;
  without.vote = false;
  CHECK(merge_sights({{0, box, 0.7f}, {1, box, 0.8f}}, grid, without).front().score == 0.8f);
}

TEST_CASE("a box without an area is told as any other") {
  const TileGrid grid(400, 400, 512, 0.2f);
  SeamMerger merger(grid, {}, kMinScores);
  merger.add(0, {{{100, 100, 100, 120}, 0.5f, 0}});
  const Detections objects = merger.take_finished();
  REQUIRE(objects.size() == 1);
  CHECK(objects[0].score == doctest::Approx(0.5f));
}

TEST_CASE("the threshold of the vote is that of the class") {
  const TileGrid grid(1000, 1000, 500, 0.5f);
  const Box box{360, 360, 390, 390};
  const std::vector<Sight> two = {{0, box, 0.5f}, {4, box, 0.5f}};
  CHECK(merge_sights(two, grid, {}, {0.33f}).size() == 1);  // 1 + 0.33 of 4 * 0.33
  CHECK(merge_sights(two, grid, {}, {0.34f}).size() == 0);
  // Scores that the record of a run rounds to just below the threshold have reached it.
  CHECK(merge_sights({{0, {10, 10, 40, 40}, 0.12345f}}, grid, {}, {0.123454f}).size() == 1);
  CHECK_THROWS_WITH(merge_sights(two, grid, {}, {}),
                    "window 0: a detection of class 0; the model has the classes 0 to -1");
}

TEST_CASE("what a tile has found is evidence for one object only") {
  const TileGrid grid(900, 500, 500, 0.2f);  // tiles at 0 and 400
  // Tile 0 told one object twice, tile 1 once: it confirms the better one.
  const std::vector<Sight> sights = {
      {0, {420, 100, 460, 140}, 0.5f}, {0, {422, 100, 462, 144}, 0.4f}, {1, {421, 100, 461, 142}, 0.5f}};
  CHECK(merge_sights(sights, grid).size() == 1);
  CHECK(merge_sights({sights[0], sights[1], sights[2], {1, {423, 100, 463, 144}, 0.4f}}, grid).size() == 1);
}

TEST_CASE("a merged box is the mean of those that show the object whole") {
  const TileGrid grid(900, 500, 500, 0.2f);  // tiles at 0 and 400
  const std::vector<Sight> sights = {{0, {430, 100, 460, 140}, 0.9f}, {1, {434, 102, 466, 140}, 0.6f}};
  const Detections merged = merge_sights(sights, grid);
  REQUIRE(merged.size() == 1);
  CHECK(is_same(merged[0].box, {432, 101, 463, 140}));
  const Detections best = merge_sights(sights, grid, {500, 0.2f, Merge::nms});
  REQUIRE(best.size() == 1);
  CHECK(is_same(best[0].box, sights[0].box));  // 40 from the edge of its tile, the other 34
  // Tile 0 ends its box of a cut object before its edge, and is sure of it.
  const Detections cut = merge_sights({{0, {420, 100, 490, 140}, 0.9f}, {1, {420, 100, 540, 140}, 0.6f}}, grid);
  REQUIRE(cut.size() == 1);
  CHECK(is_same(cut[0].box, {420, 100, 540, 140}));
}

TEST_CASE("large objects hide their parts") {
  const TileGrid grid(2000, 2000, 512, 0.2f);
  const Detections objects = {{{300, 300, 1700, 1600}, 0.8f, 0}, {{50, 50, 90, 90}, 0.7f, 0}};
  const Detections found = merge(objects, grid, {512, 0.2f}, {objects[0]});
  REQUIRE(found.size() == 1);  // the merger's user tells the large ones itself
  CHECK(is_same(found[0].box, objects[1].box));
}

// A scan that says what is asked of it, and can fail.
class TestScan final : public RegionReader {
 public:
  TestScan(int width, int height, bool can_clone) : width_(width), height_(height), can_clone_(can_clone) {}

  int width() const override { return width_; }
  int height() const override { return height_; }
  void read(int x, int y, int width, int height, std::uint8_t* pixels, std::ptrdiff_t row_bytes) override {
    CHECK((x >= 0 && y >= 0 && width > 0 && height > 0 && x + width <= width_ && y + height <= height_));
    if (y + height > fail_from_row) throw Error(Error::Code::file, "the scan is damaged");
    for (int row = 0; row < height; ++row) {
      for (int i = 0; i < 3 * width; ++i) {
        const int column = 3 * x + i;
        pixels[row * row_bytes + i] = static_cast<std::uint8_t>((column * column + (y + row) * 37) % 251);
      }
    }
  }
  std::unique_ptr<RegionReader> clone() const override {
    return can_clone_ ? std::make_unique<TestScan>(*this) : nullptr;
  }

  int fail_from_row = 1 << 30;

 private:
  int width_, height_;
  bool can_clone_;
};

Detector tiny_detector(int max_batch = 3, int threads = 1) {
  Options options;
  options.device = Device::cpu;
  options.precision = Precision::f32;
  options.min_score = 0.3f;
  options.max_batch = max_batch;
  options.cpu_threads = threads;
  return Detector::with_random_weights(std::filesystem::path(VISTAZO_TEST_DATA) / "models/w2_original/config.json",
                                       options);
}

bool are_equal(const Detections& a, const Detections& b) {
  return std::ranges::equal(a, b, [](const Detection& x, const Detection& y) {
    return is_same(x.box, y.box) && x.score == y.score && x.class_id == y.class_id;
  });
}

constexpr TilingOptions kSmall{64, 0.2f};

TEST_CASE("the objects are the same for any batch, threads, readers and source") {
  TestScan scan(300, 210, true), alone(300, 210, false);
  const Detector detector = tiny_detector();
  const Detections expected = TiledDetector(detector, kSmall).detect(scan);
  CHECK(expected.size() > 20);
  for (const int batch : {1, 8, 100}) {
    for (const int threads : {1, 2}) {
      const Detector other = tiny_detector(batch, threads);
      CHECK(are_equal(TiledDetector(other, kSmall).detect(alone), expected));
    }
  }
  std::vector<std::uint8_t> pixels(3 * 300 * 210);
  scan.read(0, 0, 300, 210, pixels.data(), 900);
  CHECK(are_equal(TiledDetector(detector, kSmall).detect({pixels.data(), 300, 210, 900, PixelFormat::rgb8}), expected));
}

TEST_CASE("a run that is stopped goes on where it was, and ends the same") {
  TestScan scan(300, 210, true);
  const Detector detector = tiny_detector(2);
  const TiledDetector tiled(detector, kSmall);
  std::vector<Detections> windows;
  Detections whole;
  TilingEvents events;
  events.on_window = [&](int window, const Detections& d) {
    CHECK(window == static_cast<int>(windows.size()));
    windows.push_back(d);
  };
  events.on_objects = [&](const Detections& d) { whole.insert(whole.end(), d.begin(), d.end()); };
  const TilingReport report = tiled.run(scan, events);
  CHECK(report.is_complete);
  CHECK(report.windows == tiled.window_count(300, 210));
  CHECK(report.objects == static_cast<std::int64_t>(whole.size()));
  for (const int after : {0, 1, 7, report.windows - 1}) {
    std::stop_source stop;
    std::vector<Detections> first;
    TilingEvents until;
    until.on_window = [&](int, const Detections& d) {
      first.push_back(d);
      if (static_cast<int>(first.size()) > after) stop.request_stop();
    };
    const TilingReport stopped = tiled.run(scan, until, stop.get_token());
    CHECK(stopped.windows == static_cast<int>(first.size()));
    CHECK(stopped.windows <= after + 1 + 2 * (2 * 2 + 2));  // what was under way
    std::size_t next = 0;
    Detections rest;
    TilingEvents again;
    again.next_known = [&]() -> std::optional<Detections> {
      if (next == first.size()) return {};
      return first[next++];
    };
    again.on_objects = [&](const Detections& d) { rest.insert(rest.end(), d.begin(), d.end()); };
    const TilingReport resumed = tiled.run(scan, again);
    CHECK(resumed.is_complete);
    CHECK(resumed.windows_detected == report.windows - stopped.windows);
    CHECK(are_equal(rest, whole));
  }
}

TEST_CASE("failures of the reader and of callbacks come out, after what was finished") {
  TestScan scan(300, 210, false);
  const Detector detector = tiny_detector(2);
  const TiledDetector tiled(detector, kSmall);
  scan.fail_from_row = 120;
  int windows = 0;
  TilingEvents events;
  events.on_window = [&](int, const Detections&) { ++windows; };
  CHECK_THROWS_WITH(tiled.run(scan, events), "the scan is damaged");
  CHECK(windows > 0);
  events.on_window = [](int, const Detections&) { throw std::runtime_error("the disk is full"); };
  CHECK_THROWS_WITH(tiled.run(scan, events), "the disk is full");
}

TEST_CASE("images smaller than a window, and the whole image besides") {
  const Detector detector = tiny_detector();
  for (const auto& [width, height] : {std::pair{1, 1}, {200, 20}, {20, 200}, {64, 64}}) {
    TestScan scan(width, height, true);
    for (const Detection& d : TiledDetector(detector, kSmall).detect(scan)) {
      CHECK((d.box.x1 <= static_cast<float>(width) && d.box.y1 <= static_cast<float>(height)));
      CHECK((d.box.x0 < d.box.x1 && d.box.y0 < d.box.y1));
    }
  }
  TestScan scan(500, 300, true);
  TilingOptions options = kSmall;
  options.whole_image = true;
  CHECK(TiledDetector(detector, options).detect(scan).size() > 0);
}

TEST_CASE("options out of range are refused") {
  const Detector detector = tiny_detector();
  for (const TilingOptions& options : {TilingOptions{0}, TilingOptions{512, 0.95f}, TilingOptions{512, -0.1f},
                                       TilingOptions{512, 0.2f, Merge::nmm, Measure::iou, 0.0f}}) {
    CHECK_THROWS_AS(TiledDetector(detector, options), Error);
  }
  TestScan empty(0, 5, false);
  CHECK_THROWS_AS(TiledDetector(detector).detect(empty), Error);
}

TEST_CASE("an overview is the mean of what it stands for") {
  TestScan scan(31, 17, false);
  std::vector<std::uint8_t> whole(3 * 31 * 17), same(whole.size()), small(3 * 4 * 3);
  scan.read(0, 0, 31, 17, whole.data(), 93);
  static_cast<RegionReader&>(scan).read_overview(31, 17, same.data());
  CHECK(same == whole);
  static_cast<RegionReader&>(scan).read_overview(4, 3, small.data());
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 4; ++x) {
      double sum = 0, count = 0;
      for (int v = y * 17 / 3; v < (y + 1) * 17 / 3; ++v) {
        for (int u = x * 31 / 4; u < (x + 1) * 31 / 4; ++u, ++count)
          sum += whole[static_cast<std::size_t>(3 * (v * 31 + u) + 1)];
      }
      CHECK(std::abs(small[static_cast<std::size_t>(3 * (y * 4 + x) + 1)] - sum / count) <= 0.5 + 1e-9);
    }
  }
  CHECK_THROWS_AS(scan.read_overview(32, 17, whole.data()), Error);
}

}  // namespace
}  // namespace vistazo
