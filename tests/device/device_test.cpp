#include <cuda_runtime_api.h>
#include <doctest/doctest.h>
#include <vistazo/detector.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/device/support.h"
#include "tests/support/buffers.h"

// The CUDA backend as a device: what repeats, what runs side by side, what fails and what is left after it.
namespace vistazo {
namespace {

using testing::options_for;

std::filesystem::path small_model() {
  return testing::data_folder() / "models" / "w2_huggingface";
}

TEST_CASE("device: the same input gives the same bits, launched, recorded and replayed") {
  for (const Precision precision : {Precision::f32, Precision::bf16, Precision::f16}) {
    const Detector detector = Detector::load(testing::weights_folder() / "cells", options_for(Device::cuda, precision));
    const int side = 12 * detector.info().height_multiple;
    const auto pixels = testing::random_floats(static_cast<std::size_t>(3 * side * side), 1);
    const auto others = testing::random_floats(pixels.size(), 2);
    const RawOutputs first = detector.forward(pixels, 1, side, side);
    for (int i = 0; i < 4; ++i) {
      CHECK(detector.forward(others, 1, side, side).logits != first.logits);
      const RawOutputs again = detector.forward(pixels, 1, side, side);
      CHECK(again.logits == first.logits);
      CHECK(again.boxes == first.boxes);
    }
  }
}

TEST_CASE("device: more sizes than are kept recorded") {
  const Detector detector = Detector::load(small_model(), options_for(Device::cuda));
  const int multiple = detector.info().height_multiple;
  std::vector<std::vector<float>> first;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 24; ++i) {
      const int height = (2 + i % 5) * multiple, width = (2 + i / 5) * multiple;
      const auto pixels = testing::random_floats(static_cast<std::size_t>(3 * height * width), 7);
      const auto logits = detector.forward(pixels, 1, height, width).logits;
      const auto again = detector.forward(pixels, 1, height, width).logits;
      if (round == 0) first.push_back(logits);
      CHECK(logits == first[static_cast<std::size_t>(i)]);
      CHECK(again == logits);
    }
  }
}

TEST_CASE("device: threads share a detector, and detectors a GPU") {
  const Detector one = Detector::load(small_model(), options_for(Device::cuda));
  const Detector two = Detector::load(testing::weights_folder() / "cells", options_for(Device::cuda, Precision::bf16));
  const testing::Picture picture(200, 150, 4);
  const auto expected_one = one.detect(picture.view()), expected_two = two.detect(picture.view());
  const auto are_equal = [](const Detections& a, const Detections& b) {
    return std::ranges::equal(a, b, [](const Detection& x, const Detection& y) {
      return x.score == y.score && x.class_id == y.class_id && x.box.x0 == y.box.x0 && x.box.y1 == y.box.y1;
    });
  };
  std::vector<int> differences(6, 0);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < differences.size(); ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 10; ++i) {
          const bool is_first = t % 2 == 0;
          const Detections found = (is_first ? one : two).detect(picture.view());
          differences[t] += !are_equal(found, is_first ? expected_one : expected_two);
        }
      });
    }
    // Loading while others record and run.
    threads.emplace_back([&] { Detector::load(small_model(), options_for(Device::cuda)).detect(picture.view()); });
  }
  for (const int count : differences) CHECK(count == 0);
}

TEST_CASE("device: a pass that does not fit into memory is an error, and the next one runs") {
  const Detector detector = Detector::load(small_model(), options_for(Device::cuda));
  const int side = 512 * detector.info().height_multiple;
  std::string message;
  try {
    detector.time_forward(256, side, side, 1);
  } catch (const Error& error) {
    CHECK(error.code == Error::Code::device);
    message = error.what();
  }
  CAPTURE(message);
  CHECK(message.find("out of memory") != std::string::npos);
  CHECK(message.find("were asked for") != std::string::npos);
  const int small = 2 * detector.info().height_multiple;
  CHECK(detector.time_forward(1, small, small, 2).size() == 2);
}

TEST_CASE("device: an index without a GPU is an error that says how many there are") {
  Options options = options_for(Device::cuda);
  options.gpu = 4711;
  std::string message;
  try {
    Detector::load(small_model(), options);
  } catch (const Error& error) {
    CHECK(error.code == Error::Code::device);
    message = error.what();
  }
  CHECK(message.find("there is no GPU 4711; this machine has") != std::string::npos);
  options.device = Device::automatic;
  CHECK_THROWS_AS(Detector::load(small_model(), options), Error);
}

TEST_CASE("device: the caller's own GPU stays current, and automatic takes one") {
  int count = 0, current = -1;
  REQUIRE(cudaGetDeviceCount(&count) == cudaSuccess);
  REQUIRE(cudaSetDevice(count - 1) == cudaSuccess);
  Options options = options_for(Device::automatic, Precision::automatic);
  const Detector detector = Detector::load(small_model(), options);
  CHECK(detector.info().device == Device::cuda);
  CHECK(detector.info().precision == Precision::bf16);
  detector.detect(testing::Picture(50, 50, 1).view());
  REQUIRE(cudaGetDevice(&current) == cudaSuccess);
  CHECK(current == count - 1);
  cudaSetDevice(0);
}

double resident_mebibytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kibibytes = 0;
    if (word == "VmRSS:" && status >> kibibytes) return kibibytes / 1024;
  }
  return 0;
}

double used_device_mebibytes() {
  std::size_t available = 0, total = 0;
  cudaMemGetInfo(&available, &total);
  return static_cast<double>(total - available) / (1 << 20);
}

// $VISTAZO_SOAK passes of changing batches and sizes; a few hundred otherwise.
TEST_CASE("device: passes leave nothing behind") {
  const char* asked = std::getenv("VISTAZO_SOAK");
  const int passes = asked ? std::atoi(asked) : 300;
  const Detector detector = Detector::load(small_model(), options_for(Device::cuda, Precision::bf16));
  const int multiple = detector.info().height_multiple;
  const auto pixels = testing::random_floats(static_cast<std::size_t>(3 * 8 * 36 * multiple * multiple), 5);
  std::minstd_rand random(3);
  double host = 0, device = 0;
  for (int i = 0; i < passes; ++i) {
    const int batch = 1 + static_cast<int>(random() % 8);
    const int height = (1 + static_cast<int>(random() % 6)) * multiple;
    const int width = (2 + static_cast<int>(random() % 5)) * multiple;
    const auto size = static_cast<std::size_t>(3 * batch * height * width);
    // Two in a row: the second is recorded.
    detector.forward(std::span(pixels).first(size), batch, height, width);
    detector.forward(std::span(pixels).first(size), batch, height, width);
    if (i == passes / 3) {
      host = resident_mebibytes();
      device = used_device_mebibytes();
    }
  }
  const double host_growth = resident_mebibytes() - host, device_growth = used_device_mebibytes() - device;
  const int runs = 2 * passes;
  MESSAGE(runs << " passes; host memory grew by " << host_growth << " MiB, the device's by " << device_growth);
  CHECK(device_growth < 16);
  // The plans of all sizes, and the heap's own habits. A few passes are a checker's, whose own memory grows.
  if (passes >= 100) CHECK(host_growth < 16);
}

}  // namespace
}  // namespace vistazo
