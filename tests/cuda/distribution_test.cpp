#include "kernels/distribution.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/logit_boxes.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/distribution.h"
#include "tests/reference/logit_boxes.h"
#include "tests/support/buffers.h"

// edge_boxes, edge_peaks and logit_boxes.
namespace vistazo {
namespace {

using testing::DeviceBuffer;
using testing::random_floats;
using testing::relative_error;

constexpr std::size_t kBins[] = {1, 3, 17, 33, 63, 65, 197, 256};

float* floats(const DeviceBuffer& buffer) {
  return static_cast<float*>(buffer.data());
}

TEST_CASE("edge_boxes") {
  for (const std::size_t bins : kBins) {
    for (const std::size_t rows : {1, 17, 300}) {
      CAPTURE(bins);
      CAPTURE(rows);
      auto logits = random_floats(rows * 4 * bins, 1, 0.0f, 3.0f);
      logits[0] = 100.0f;  // one certain edge
      const auto weights = random_floats(bins, 2, 0.0f, 2.0f), boxes = random_floats(rows * 4, 3, 0.5f, 0.2f);
      const DeviceBuffer logit_buffer(logits, DType::f32), weight_buffer(weights, DType::f32),
          box_buffer(boxes, DType::f32), y(boxes.size(), DType::f32);
      const EdgeLogits edges{floats(logit_buffer), static_cast<std::int64_t>(rows), static_cast<int>(bins)};
      cuda::edge_boxes({edges, floats(weight_buffer), floats(box_buffer), floats(y), 4.0f}, nullptr);
      const auto expected = reference::edge_boxes<double>(logits, weights, boxes, 4.0f);
      const double plain = relative_error(reference::edge_boxes<float>(logits, weights, boxes, 4.0f), expected);
      CHECK(relative_error(y.floats(), expected) <= 2 * plain + 4e-7);
      CHECK(y.is_guard_intact());
      cuda::edge_boxes({edges, floats(weight_buffer), floats(box_buffer), floats(box_buffer), 4.0f}, nullptr);
      CHECK(box_buffer.floats() == y.floats());
    }
  }
}

TEST_CASE("edge_boxes: a NaN stays in its box") {
  std::vector<float> logits(2 * 4 * 33, 0.0f);
  logits[40] = std::numeric_limits<float>::quiet_NaN();
  const DeviceBuffer logit_buffer(logits, DType::f32), weights(std::vector<float>(33, 0.0f), DType::f32),
      boxes(std::vector<float>{0.5f, 0.25f, 1.0f, 0.5f, 0.5f, 0.25f, 1.0f, 0.5f}, DType::f32), y(8, DType::f32);
  cuda::edge_boxes({{floats(logit_buffer), 2, 33}, floats(weights), floats(boxes), floats(y), 4.0f}, nullptr);
  const auto found = y.floats();
  CHECK(std::isnan(found[1]));
  CHECK(std::vector<float>(found.begin() + 4, found.end()) == std::vector<float>{0.5f, 0.25f, 1.0f, 0.5f});
}

TEST_CASE("edge_peaks: ties, and as many peaks as bins") {
  for (const std::size_t bins : kBins) {
    for (const std::size_t k : {std::size_t{1}, std::size_t{4}, bins}) {
      if (k > bins || k > 65) continue;
      for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
        CAPTURE(bins);
        CAPTURE(k);
        const std::size_t rows = 131;
        auto logits = random_floats(rows * 4 * bins, 1, 0.0f, 3.0f);
        std::fill_n(logits.begin(), bins, 1.0f);  // ties
        const DeviceBuffer logit_buffer(logits, DType::f32), y(rows * 4 * (k + 1), dtype);
        const EdgeLogits edges{floats(logit_buffer), static_cast<std::int64_t>(rows), static_cast<int>(bins)};
        cuda::edge_peaks({edges, y.data(), static_cast<int>(k), dtype}, nullptr);
        const auto expected = reference::edge_peaks<double>(logits, bins, k);
        const double plain = relative_error(reference::edge_peaks<float>(logits, bins, k), expected);
        const double rounding = dtype == DType::f32 ? 0x1p-23 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
        CHECK(relative_error(y.floats(), expected) <= 2 * plain + rounding + 4e-7);
        CHECK(y.is_guard_intact());
      }
    }
  }
}

TEST_CASE("logit_boxes: boxes in the image, on its border and beyond it; logits; in place") {
  for (const int rows : {1, 3, 300, 1026}) {
    for (const int reference_rows : {rows, rows % 3 == 0 ? rows / 3 : 1}) {
      for (const bool is_logits : {false, true}) {
        CAPTURE(rows);
        auto reference = random_floats(static_cast<std::size_t>(reference_rows) * 4, 1, 0.5f, 0.3f);
        reference[0] = 0.0f;
        reference[1] = 1.0f;
        const auto delta = random_floats(static_cast<std::size_t>(rows) * 4, 2, 0.0f, 2.0f);
        const DeviceBuffer reference_buffer(reference, DType::f32), delta_buffer(delta, DType::f32),
            y(delta.size(), DType::f32);
        const auto run = [&](const DeviceBuffer& to) {
          cuda::logit_boxes(
              {floats(reference_buffer), floats(delta_buffer), floats(to), rows, reference_rows, is_logits}, nullptr);
        };
        run(y);
        const auto expected = reference::logit_boxes<double>(reference, delta, is_logits);
        const double plain = relative_error(reference::logit_boxes<float>(reference, delta, is_logits), expected);
        CHECK(relative_error(y.floats(), expected) <= 2 * plain + 0x1p-22);  // logf and expf: 2 units
        CHECK(y.is_guard_intact());
        run(delta_buffer);
        CHECK(delta_buffer.floats() == y.floats());
      }
    }
  }
}

TEST_CASE("logit_boxes: an infinite logit is 1 whatever the delta; a NaN stays") {
  const std::vector<float> reference = {3e38f, 3e38f, 3e38f, NAN};
  const DeviceBuffer reference_buffer(reference, DType::f32),
      delta(std::vector<float>{-50.0f, 0.0f, 3.0f, -3.0f}, DType::f32), y(4, DType::f32);
  for (const bool is_logits : {true, false}) {
    cuda::logit_boxes({floats(reference_buffer), floats(delta), floats(y), 1, 1, is_logits}, nullptr);
    if (is_logits) CHECK(y.floats()[0] == 1.0f);
    CHECK(std::isnan(y.floats()[3]));
  }
}

TEST_CASE("distributions: wrong arguments are errors") {
  CHECK_THROWS_AS(cuda::edge_boxes({{nullptr, 1, 0}, nullptr, nullptr, nullptr, 1.0f}, nullptr), Error);
  CHECK_THROWS_AS(cuda::edge_boxes({{nullptr, 1, 257}, nullptr, nullptr, nullptr, 1.0f}, nullptr), Error);
  CHECK_THROWS_AS(cuda::edge_boxes({{nullptr, 1, 1}, nullptr, nullptr, nullptr, 0.0f}, nullptr), Error);
  CHECK_THROWS_AS(cuda::edge_peaks({{nullptr, 1, 2}, nullptr, 3, DType::f32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::edge_peaks({{nullptr, 1, 2}, nullptr, 1, DType::i32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::logit_boxes({nullptr, nullptr, nullptr, 1, 0, true}, nullptr), Error);
}

}  // namespace
}  // namespace vistazo
