#include <doctest/doctest.h>
#include <vistazo/detector.h>
#include <vistazo/tensor_file.h>

#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tests/device/support.h"
#include "tests/support/buffers.h"

// Whole models on the GPU against stored outputs of the PyTorch references, and against the CPU.
namespace vistazo {
namespace {

using testing::options_for;

// Sums of f32 in another order than the reference's: a few 1e-6 through all layers. A wrong weight costs 1e-2.
constexpr double kF32Tolerance = 1e-4;

struct Reference {
  explicit Reference(const std::filesystem::path& folder) : tensors(read_tensor_file(folder / "io.safetensors")) {}

  const FloatTensor& pixels() const { return tensors.at("pixel_values"); }
  int side(std::size_t axis) const { return static_cast<int>(pixels().shape[axis]); }
  RawOutputs outputs_of(const Detector& detector) const {
    return detector.forward(pixels().values, side(0), side(2), side(3));
  }

  std::map<std::string, FloatTensor> tensors;
};

void check_parity(const std::filesystem::path& folder) {
  CAPTURE(folder.filename().string());
  std::optional<Detector> detector;
  try {
    detector = Detector::load(folder, options_for(Device::cuda));
  } catch (const Error& error) {  // a family of a later version
    if (std::string(error.what()).find("model_type") == std::string::npos) throw;
    MESSAGE(folder.filename().string() << " is skipped: " << error.what());
    return;
  }
  const Reference reference(folder);
  reference.outputs_of(*detector);
  // The first pass ran as it is, the second is recorded, the third replayed.
  for (int pass = 1; pass < 3; ++pass) {
    CAPTURE(pass);
    const RawOutputs outputs = reference.outputs_of(*detector);
    const double logits = testing::relative_error(outputs.logits, reference.tensors.at("logits").values);
    const double boxes = testing::relative_error(outputs.boxes, reference.tensors.at("pred_boxes").values);
    if (pass == 1) {
      MESSAGE(folder.filename().string() << ": relative error of logits " << logits << ", of boxes " << boxes);
    }
    CHECK(logits < kF32Tolerance);
    CHECK(boxes < kF32Tolerance);
  }
}

TEST_CASE("parity: f32 outputs are those of the PyTorch references") {
  for (const char* family : {"models", "rt_detr", "d_fine"}) {
    const auto folders = testing::model_folders(testing::data_folder() / family);
    REQUIRE(folders.size() >= 5);
    for (const auto& folder : folders) check_parity(folder);
  }
}

TEST_CASE("parity: f32 outputs of the larger reference set") {
  const char* root = std::getenv("VISTAZO_GOLDEN");
  if (!root) {
    MESSAGE("skipped: VISTAZO_GOLDEN names no folder");
    return;
  }
  for (const auto& folder : testing::model_folders(root)) check_parity(folder);
}

// Sizes are multiples of the model's windows and of nothing else.
TEST_CASE("parity: CPU and GPU agree in f32 at odd sizes and batches") {
  for (const char* name : {"w2_huggingface", "w4_p14", "w1_rect", "p3p5"}) {
    CAPTURE(name);
    const auto folder = testing::data_folder() / "models" / name;
    const Detector gpu = Detector::load(folder, options_for(Device::cuda));
    const Detector cpu = Detector::load(folder, options_for(Device::cpu));
    const int multiple = gpu.info().height_multiple;
    for (const int batch : {1, 3, 16}) {
      CAPTURE(batch);
      const int height = 3 * multiple, width = 5 * multiple;
      const auto pixels = testing::random_floats(static_cast<std::size_t>(3 * batch * height * width), 40);
      const RawOutputs a = gpu.forward(pixels, batch, height, width), b = cpu.forward(pixels, batch, height, width);
      CHECK(testing::relative_error(a.logits, b.logits) < kF32Tolerance);
      CHECK(testing::relative_error(a.boxes, b.boxes) < kF32Tolerance);
    }
  }
}

TEST_CASE("parity: a batch gives what its images give alone") {
  const auto folder = testing::weights_folder() / "cells";
  for (const Precision precision : {Precision::f32, Precision::bf16, Precision::f16}) {
    CAPTURE(static_cast<int>(precision));
    const Detector detector = Detector::load(folder, options_for(Device::cuda, precision));
    REQUIRE(detector.info().precision == precision);
    const int multiple = detector.info().height_multiple, height = 11 * multiple, width = 9 * multiple;
    const std::size_t image = static_cast<std::size_t>(3 * height * width);
    const auto pixels = testing::random_floats(5 * image, 41);
    const RawOutputs together = detector.forward(pixels, 5, height, width);
    std::vector<float> logits;
    for (std::size_t i = 0; i < 5; ++i) {
      const RawOutputs alone = detector.forward(std::span(pixels).subspan(i * image, image), 1, height, width);
      logits.insert(logits.end(), alone.logits.begin(), alone.logits.end());
    }
    // In 16 bits, products divided differently round differently, and near-equal proposals change places: the best
    // scores of a query are compared as the self-check of f16 does, by norm.
    if (precision == Precision::f32) CHECK(testing::relative_error(together.logits, logits) < kF32Tolerance);
    double a = 0, b = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      a += std::abs(static_cast<double>(together.logits[i]));
      b += std::abs(static_cast<double>(logits[i]));
    }
    CHECK(a == doctest::Approx(b).epsilon(0.01));
  }
}

double best_score_sum(const Detections& detections, std::size_t count) {
  double sum = 0;
  for (std::size_t i = 0; i < std::min(count, detections.size()); ++i) sum += static_cast<double>(detections[i].score);
  return sum;
}

TEST_CASE("parity: images of any size, format and stride are detected as on the CPU") {
  const auto folder = testing::weights_folder() / "cells";
  const Detector gpu = Detector::load(folder, options_for(Device::cuda));
  const Detector cpu = Detector::load(folder, options_for(Device::cpu));
  const testing::Picture a(333, 217, 1), b(97, 1031, 2), c(1920, 1080, 3);
  Image flipped = a.view();
  flipped.pixels += (flipped.height - 1) * flipped.row_bytes;
  flipped.row_bytes = -flipped.row_bytes;
  Image reversed = b.view();
  reversed.format = PixelFormat::bgr8;
  Image gray = c.view();
  gray.format = PixelFormat::gray8;
  gray.row_bytes = 3 * 1920;
  const std::vector<Image> images{a.view(), b.view(), c.view(), flipped, reversed, gray};
  const auto found = gpu.detect_batch(images), expected = cpu.detect_batch(images);
  for (std::size_t i = 0; i < images.size(); ++i) {
    CAPTURE(i);
    REQUIRE(found[i].size() == expected[i].size());
    REQUIRE(!found[i].empty());
    for (std::size_t d = 0; d < std::min<std::size_t>(found[i].size(), 10); ++d) {
      CHECK(found[i][d].score == doctest::Approx(expected[i][d].score).epsilon(1e-3));
      CHECK(found[i][d].box.x0 == doctest::Approx(expected[i][d].box.x0).epsilon(1e-2));
    }
    CHECK(best_score_sum(found[i], 300) == doctest::Approx(best_score_sum(expected[i], 300)).epsilon(1e-3));
  }
}

TEST_CASE("parity: 16 bits stay near f32") {
  const auto folder = testing::weights_folder() / "cells";
  const Detector exact = Detector::load(folder, options_for(Device::cuda));
  const testing::Picture picture(640, 480, 9);
  const Detections expected = exact.detect(picture.view());
  for (const Precision precision : {Precision::bf16, Precision::f16}) {
    CAPTURE(static_cast<int>(precision));
    const Detector detector = Detector::load(folder, options_for(Device::cuda, precision));
    CHECK(detector.info().precision == precision);
    const Detections found = detector.detect(picture.view());
    CHECK(best_score_sum(found, 100) == doctest::Approx(best_score_sum(expected, 100)).epsilon(0.05));
  }
}

}  // namespace
}  // namespace vistazo
