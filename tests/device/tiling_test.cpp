#include <doctest/doctest.h>
#include <vistazo/tiling.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "tests/device/support.h"

// Windows on the GPU. Its kernels suit the number of images that run together; those of a tiled run do not ask.
namespace vistazo {
namespace {

using testing::options_for;
using testing::Picture;

bool are_equal(const Detections& a, const Detections& b) {
  return std::ranges::equal(a, b, [](const Detection& x, const Detection& y) {
    return x.box.x0 == y.box.x0 && x.box.y0 == y.box.y0 && x.box.x1 == y.box.x1 && x.box.y1 == y.box.y1 &&
           x.score == y.score && x.class_id == y.class_id;
  });
}

// Objects of the picture, in windows of `window` pixels, by detectors that run so many of them together.
void check_every_batch(const std::function<Detector(const Options&)>& load, Options options, const Picture& picture,
                       int window) {
  options.min_score = 0.1f;
  Detections expected;
  for (const int batch : {8, 1, 3}) {
    options.max_batch = batch;
    const Detector detector = load(options);
    const Detections found = TiledDetector(detector, {.window = window}).detect(picture.view());
    CAPTURE(static_cast<int>(options.precision));
    CAPTURE(batch);
    if (expected.empty()) expected = found;
    CHECK(found.size() > 10);
    CHECK(are_equal(found, expected));
  }
}

// As large as it takes in the emulation, which has few multiprocessors: there attention of one window is divided
// otherwise than that of three.
TEST_CASE("device: windows of a small model are the same to the bit in every batch") {
  const auto config = testing::data_folder() / "models" / "w2_original" / "config.json";
  Options options = options_for(Device::cuda, Precision::bf16);
  options.native_size = true;
  check_every_batch([&](const Options& o) { return Detector::with_random_weights(config, o); }, options,
                    Picture(400, 300, 1), 224);
}

TEST_CASE("device: windows of the shipped model are the same to the bit in every batch") {
  const auto folder = testing::weights_folder() / "cells";
  const auto load = [&](const Options& options) { return Detector::load(folder, options); };
  for (const Precision precision : {Precision::bf16, Precision::f16}) {
    check_every_batch(load, options_for(Device::cuda, precision), Picture(1500, 1300, 1), 512);
  }
  // By the kernels of their own batch they are not: what the lines above are about.
  const Detector detector = load(options_for(Device::cuda, Precision::bf16));
  const Picture one(512, 512, 2);
  const std::vector<Image> eight(8, one.view());
  CHECK(!are_equal(detector.detect_batch(eight)[0], detector.detect(one.view())));
}

}  // namespace
}  // namespace vistazo
