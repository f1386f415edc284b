#include <doctest/doctest.h>
#include <vistazo/detector.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>

#include "tests/support/buffers.h"
#include "tests/support/temporary_folder.h"

namespace vistazo {
namespace {

const std::filesystem::path kConfig = std::filesystem::path(VISTAZO_TEST_DATA) / "models/w2_original/config.json";

Options cpu_options(Precision precision = Precision::f32) {
  Options options;
  options.device = Device::cpu;
  options.precision = precision;
  options.min_score = 0.0f;
  return options;
}

struct Picture {
  Picture(int w, int h, unsigned seed) : width(w), height(h), bytes(static_cast<std::size_t>(3 * w * h)) {
    std::mt19937 random(seed);
    for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(random());
  }
  Image view() const { return {bytes.data(), width, height, 3 * width, PixelFormat::rgb8}; }

  int width, height;
  std::vector<std::uint8_t> bytes;
};

bool are_equal(const Detections& a, const Detections& b, float tolerance) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const float shift = std::abs(a[i].box.x0 - b[i].box.x0) + std::abs(a[i].box.y1 - b[i].box.y1);
    if (a[i].class_id != b[i].class_id || std::abs(a[i].score - b[i].score) > tolerance || shift > 100 * tolerance) {
      return false;
    }
  }
  return true;
}

TEST_CASE("a batch of images gives what each gives alone, whatever their sizes and the batch's") {
  Options options = cpu_options();
  const Detector one = Detector::with_random_weights(kConfig, options);
  options.max_batch = 2;
  const Detector two = Detector::with_random_weights(kConfig, options);
  std::vector<Picture> pictures;
  std::vector<Image> images;
  for (unsigned i = 0; i < 5; ++i) pictures.emplace_back(40 + 13 * static_cast<int>(i), 90, i);
  for (const Picture& p : pictures) images.push_back(p.view());
  const auto together = one.detect_batch(images), in_pairs = two.detect_batch(images);
  for (std::size_t i = 0; i < images.size(); ++i) {
    const Detections alone = one.detect(images[i]);
    CHECK(alone.size() > 0);
    CHECK(are_equal(alone, together[i], 1e-5f));
    CHECK(are_equal(alone, in_pairs[i], 1e-5f));
    CHECK(are_equal(alone, one.detect(images[i]), 0.0f));
  }
}

TEST_CASE("pixel formats and strides of one picture agree") {
  const Detector detector = Detector::with_random_weights(kConfig, cpu_options());
  const Picture rgb(33, 21, 7);
  std::vector<std::uint8_t> bgr(21 * 128, 0xEE), upside_down(rgb.bytes.size());
  for (int y = 0; y < 21; ++y) {
    for (int x = 0; x < 33; ++x) {
      for (int c = 0; c < 3; ++c) {
        const std::uint8_t value = rgb.bytes[static_cast<std::size_t>((y * 33 + x) * 3 + c)];
        bgr[static_cast<std::size_t>(y * 128 + x * 3 + 2 - c)] = value;
        upside_down[static_cast<std::size_t>(((20 - y) * 33 + x) * 3 + c)] = value;
      }
    }
  }
  const Detections expected = detector.detect(rgb.view());
  CHECK(are_equal(expected, detector.detect({bgr.data(), 33, 21, 128, PixelFormat::bgr8}), 0.0f));
  CHECK(are_equal(expected, detector.detect({upside_down.data() + 20 * 99, 33, 21, -99, PixelFormat::rgb8}), 0.0f));
}

TEST_CASE("threads may share a detector") {
  const Detector detector = Detector::with_random_weights(kConfig, cpu_options());
  const Picture picture(64, 48, 3);
  const Detections expected = detector.detect(picture.view());
  std::vector<Detections> found(4);
  std::vector<std::thread> threads;
  for (Detections& f : found) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) f = detector.detect(picture.view());
    });
  }
  for (std::thread& t : threads) t.join();
  for (const Detections& f : found) CHECK(are_equal(expected, f, 1e-5f));
}

TEST_CASE("options select detections") {
  Options options = cpu_options();
  const Picture picture(64, 48, 5);
  const Detections all = Detector::with_random_weights(kConfig, options).detect(picture.view());
  options.max_detections = 3;
  const Detections best = Detector::with_random_weights(kConfig, options).detect(picture.view());
  REQUIRE(best.size() == 3);
  CHECK(are_equal(best, Detections(all.begin(), all.begin() + 3), 0.0f));
  options.min_score = all[1].score - 1e-6f;
  for (const Detection& d : Detector::with_random_weights(kConfig, options).detect(picture.view())) {
    CHECK(d.score >= options.min_score);
  }
}

TEST_CASE("classes are chosen by name") {
  Options options = cpu_options();
  const Picture picture(64, 48, 5);
  const Detector all = Detector::with_random_weights(kConfig, options);
  REQUIRE(all.class_names().size() >= 2);
  const std::string first = all.class_names()[0], second = all.class_names()[1];
  options.classes = {first};
  std::string upper = first;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  options.class_min_scores = {{upper, 0.01f}, {second, 0.0f}};
  const Detections found = Detector::with_random_weights(kConfig, options).detect(picture.view());
  CHECK(found.size() > 0);
  for (const Detection& d : found) CHECK((d.class_id == 0 && d.score >= 0.01f));
  const Detector chosen = Detector::with_random_weights(kConfig, options);
  CHECK(all.min_score(1) == options.min_score);
  CHECK(chosen.min_score(0) == 0.01f);
  CHECK(chosen.min_score(1) > 1);
  CHECK_THROWS_AS(all.min_score(-1), Error);
  CHECK_THROWS_AS(all.min_score(static_cast<int>(all.class_names().size())), Error);
  options.classes = {"unicorn"};
  CHECK_THROWS_AS(Detector::with_random_weights(kConfig, options), Error);
  options.classes.clear();
  options.class_min_scores = {{first, 1.5f}};
  CHECK_THROWS_AS(Detector::with_random_weights(kConfig, options), Error);
}

TEST_CASE("an image at its own size runs as it is, padded to the multiple") {
  Options options = cpu_options();
  const ModelInfo info = Detector::with_random_weights(kConfig, options).info();
  const int multiple = info.height_multiple;
  const int w = info.input_width + 2 * multiple, h = info.input_height + multiple;
  const int width = w - 3, height = h - 7;
  const Picture picture(width, height, 6);
  options.native_size = true;
  const Detector detector = Detector::with_random_weights(kConfig, options);
  CHECK(detector.info().input_width == 0);
  const Detections found = detector.detect(picture.view());
  REQUIRE(found.size() > 0);
  for (const Detection& d : found) {
    CHECK((d.box.x0 >= 0 && d.box.x1 <= static_cast<float>(width)));
    CHECK((d.box.y0 >= 0 && d.box.y1 <= static_cast<float>(height)));
  }
  // The same pixels through forward(): the boxes are in units of the padded input.
  const RawOutputs raw = [&] {
    constexpr float kMean[3] = {0.485f, 0.456f, 0.406f}, kStd[3] = {0.229f, 0.224f, 0.225f};
    std::vector<float> pixels(static_cast<std::size_t>(3 * w * h), 0.0f);
    for (int c = 0; c < 3; ++c) {
      for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
          const auto value = static_cast<float>(picture.bytes[static_cast<std::size_t>(3 * (y * width + x) + c)]);
          pixels[static_cast<std::size_t>((c * h + y) * w + x)] = (value / 255.0f - kMean[c]) / kStd[c];
        }
      }
    }
    return detector.forward(pixels, 1, h, w);
  }();
  const float best = *std::ranges::max_element(raw.logits);
  CHECK(found[0].score == doctest::Approx(1.0f / (1.0f + std::exp(-best))).epsilon(1e-4));
  CHECK_NOTHROW(detector.detect(Picture(5, 3, 1).view()));
}

TEST_CASE("scratch grows with the tokens, not with their square") {
  Options options = cpu_options(Precision::automatic);
  options.native_size = true;
  const Detector cells =
      Detector::with_random_weights(std::filesystem::path(VISTAZO_WEIGHTS) / "cells/config.json", options);
  const double quarter = static_cast<double>(cells.cost(1, 1024, 1024).peak_scratch_bytes);
  const double whole = static_cast<double>(cells.cost(1, 2048, 2048).peak_scratch_bytes);
  const double four = static_cast<double>(cells.cost(1, 4096, 4096).peak_scratch_bytes);
  CHECK(whole / quarter < 4.2);
  CHECK(four / whole < 4.2);
  CHECK(cells.cost(1, 2272, 4000).peak_scratch_bytes < std::size_t{2} << 30);
}

TEST_CASE("sizes may change between calls, and scratch grows with the batch") {
  const Detector detector = Detector::with_random_weights(kConfig, cpu_options());
  const int multiple = detector.info().height_multiple;
  const std::size_t first = detector.cost(1, 4 * multiple, 4 * multiple).peak_scratch_bytes;
  const std::size_t batch = detector.cost(8, 4 * multiple, 4 * multiple).peak_scratch_bytes;
  CHECK(batch > 4 * first);
  CHECK(batch < 9 * first);
  for (const int side : {4, 6, 4, 8}) {
    const int height = side * multiple, width = 4 * multiple;
    const auto pixels = testing::random_floats(static_cast<std::size_t>(3 * height * width), 11);
    const RawOutputs once = detector.forward(pixels, 1, height, width);
    CHECK(once.boxes.size() == static_cast<std::size_t>(4 * detector.info().queries));
    CHECK(once.logits == detector.forward(pixels, 1, height, width).logits);
  }
}

TEST_CASE("a profile holds every operation of a pass, and times are those of work") {
  const Detector detector = Detector::with_random_weights(kConfig, cpu_options());
  const int side = 4 * detector.info().height_multiple;
  const Cost cost = detector.cost(2, side, side);
  double flops = 0, bytes = 0;
  for (const OperationTime& operation : detector.profile_forward(2, side, side)) {
    CAPTURE(operation.name);
    CHECK(operation.milliseconds > 0);
    flops += operation.count * operation.flops;
    bytes += operation.count * operation.bytes;
  }
  CHECK(flops == doctest::Approx(cost.flops));
  CHECK(bytes == doctest::Approx(cost.bytes));
  const std::vector<double> passes = detector.time_forward(2, side, side, 3);
  REQUIRE(passes.size() == 3);
  for (const double milliseconds : passes) CHECK(milliseconds > 0);

  const Picture wide(50, 40, 1), high(40, 50, 2);
  const StageTimes stages = detector.time_stages(std::vector<Image>{wide.view(), high.view()});
  CHECK(stages.prepare_ms > 0);
  CHECK(stages.model_ms > stages.prepare_ms);
  CHECK(stages.finish_ms > 0);
  CHECK_THROWS_AS(detector.time_stages({}), Error);
}

TEST_CASE("wrong arguments are refused before any work") {
  const Detector detector = Detector::with_random_weights(kConfig, cpu_options());
  const Picture picture(8, 8, 1);
  CHECK_THROWS_AS(detector.detect({nullptr, 8, 8, 24}), Error);
  CHECK_THROWS_AS(detector.detect({picture.bytes.data(), 0, 8, 24}), Error);
  CHECK_THROWS_WITH(detector.detect_batch(std::vector<Image>{picture.view(), {picture.bytes.data(), 8, 8, 20}}),
                    "detect_batch: image 1: row_bytes 20 is less than 3 * width 8");
  const std::vector<float> pixels(3 * 33 * 32);
  CHECK_THROWS_AS(detector.forward(pixels, 1, 33, 32), Error);
  CHECK_THROWS_AS(detector.forward(pixels, 1, 32, 32), Error);
  CHECK_THROWS_AS(detector.cost(0, 32, 32), Error);
  Options options = cpu_options();
  options.max_batch = 0;
  CHECK_THROWS_WITH(Detector::with_random_weights(kConfig, options), "Options: max_batch is 0; 1 or more is wanted");
  options = cpu_options();
  options.gpu = -1;
  CHECK_THROWS_WITH(Detector::with_random_weights(kConfig, options), "Options: gpu is -1; an index, from 0, is wanted");
  options = cpu_options();
  options.cpu_threads = -1;
  CHECK_THROWS_AS(Detector::with_random_weights(kConfig, options), Error);
  options = cpu_options();
  options.threads_per_call = -1;
  CHECK_THROWS_WITH(Detector::with_random_weights(kConfig, options),
                    "Options: threads_per_call is -1; 0 (cpu_threads) or more is wanted");
}

TEST_CASE("a folder that is no model says what is missing") {
  const testing::TemporaryFolder folder;
  const auto message = [](const std::filesystem::path& path) -> std::string {
    try {
      Detector::load(path, cpu_options());
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  CHECK(message(folder.path() / "nowhere").find("nowhere") != std::string::npos);
  CHECK(message(folder.path()).find("config.json") != std::string::npos);
  std::filesystem::copy_file(kConfig, folder.path() / "config.json");
  CHECK(message(folder.path()).find("model.safetensors") != std::string::npos);
  std::ofstream(folder.path() / "config.json") << R"({"model_type": "yolo"})";
  std::ofstream(folder.path() / "model.safetensors");
  CHECK(message(folder.path()).find("model") != std::string::npos);
}

}  // namespace
}  // namespace vistazo
