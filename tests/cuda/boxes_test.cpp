#include "kernels/boxes.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/sine_embedding.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/boxes.h"
#include "tests/reference/sine_embedding.h"
#include "tests/support/buffers.h"

// refine_boxes, proposal_scores and sine_embedding.
namespace vistazo {
namespace {

using testing::DeviceBuffer;
using testing::random_floats;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

float* floats_at(const DeviceBuffer& buffer, std::size_t element = 0) {
  return static_cast<float*>(buffer.at(element));
}

std::vector<float> without_first(std::vector<float> values, std::size_t count) {
  values.erase(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count));
  return values;
}

TEST_CASE("refine_boxes: aligned or not, deltas that repeat, in place") {
  for (const int rows : {1, 3, 300, 1025, 3075}) {
    for (const int delta_rows : {rows, rows % 3 == 0 ? rows / 3 : 1}) {
      for (const std::size_t skipped : {0u, 1u}) {
        const auto reference = random_floats(std::size_t(rows) * 4 + skipped, 1, 0.5f, 0.2f);
        const auto delta = random_floats(std::size_t(delta_rows) * 4 + skipped, 2, 0.0f, 2.0f);
        const DeviceBuffer reference_buffer(reference, DType::f32), delta_buffer(delta, DType::f32),
            y(reference.size(), DType::f32);
        const auto run = [&](const DeviceBuffer& to) {
          cuda::refine_boxes({floats_at(reference_buffer, skipped), floats_at(delta_buffer, skipped),
                              floats_at(to, skipped), rows, delta_rows},
                             nullptr);
        };
        run(y);
        const auto boxes = without_first(reference, skipped), deltas = without_first(delta, skipped);
        const auto expected = reference::refine_boxes<double>(boxes, deltas);
        const double plain = testing::relative_error(reference::refine_boxes<float>(boxes, deltas), expected);
        CAPTURE(rows);
        CHECK(testing::relative_error(without_first(y.floats(), skipped), expected) <= 2 * plain + 0x1p-22);  // expf
        CHECK(y.is_guard_intact());
        run(reference_buffer);
        CHECK(without_first(reference_buffer.floats(), skipped) == without_first(y.floats(), skipped));
      }
    }
  }
  CHECK_THROWS_AS(cuda::refine_boxes({nullptr, nullptr, nullptr, 1, 0}, nullptr), Error);
}

TEST_CASE("proposal_scores: NaN logits, infinities, boxes without width") {
  for (const int classes : {1, 3, 17, 63, 91, 365}) {
    for (const int rows : {1, 65, 577}) {
      const int batch = 2;
      std::vector<float> logits = random_floats(std::size_t(batch) * rows * classes, 1, -5.0f);
      std::vector<float> proposals = random_floats(std::size_t(rows) * 4, 2, 0.5f, 0.1f);
      for (int i = 0; i < rows; i += 3) proposals[i * 4 + 2] = i % 2 ? kNaN : -1.0f * (i % 4);
      for (std::size_t i = 0; i < logits.size(); i += 7) logits[i] = i % 2 ? kNaN : -kInfinity;
      logits[logits.size() / 2] = kInfinity;
      const DeviceBuffer logit_buffer(logits, DType::f32), proposal_buffer(proposals, DType::f32),
          scores(std::size_t(batch) * rows, DType::f32);
      cuda::proposal_scores(
          {floats_at(logit_buffer), floats_at(proposal_buffer), floats_at(scores), batch, rows, classes}, nullptr);
      CHECK(scores.floats() == reference::proposal_scores(logits, proposals, batch, rows, classes));
      CHECK(scores.is_guard_intact());
      // Without proposals, all are valid.
      cuda::proposal_scores({floats_at(logit_buffer), nullptr, floats_at(scores), batch, rows, classes}, nullptr);
      const std::vector<float> all(std::size_t(rows) * 4, 1.0f);
      CHECK(scores.floats() == reference::proposal_scores(logits, all, batch, rows, classes));
    }
  }
  CHECK_THROWS_AS(cuda::proposal_scores({nullptr, nullptr, nullptr, 1, 3, 0}, nullptr), Error);
}

TEST_CASE("sine_embedding: boxes in the image, around it and far out") {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const int dim : {2, 6, 64, 128, 192, 600}) {
      for (const float size : {1.0f, 100.0f}) {
        const int rows = 37;
        const auto boxes = random_floats(std::size_t(rows) * 4, 3, 0.5f * size, 0.3f * size);
        const DeviceBuffer box_buffer(boxes, DType::f32), y(std::size_t(rows) * 4 * dim, dtype);
        cuda::sine_embedding({floats_at(box_buffer), y.data(), rows, dim, 10000.0f, dtype}, nullptr);
        const auto expected = reference::sine_embedding<double>(boxes, dim, 10000.0f);
        const double plain = testing::max_difference(reference::sine_embedding<float>(boxes, dim, 10000.0f), expected);
        const double rounding = dtype == DType::f32 ? 0.0 : dtype == DType::f16 ? 0x1p-12 : 0x1p-9;
        CAPTURE(dim);
        // Half turns in f32 are off by 2^-25, and so pi times that; sincospif by 2 units in the last place.
        CHECK(testing::max_difference(y.floats(), expected) <= 2 * plain + 2.5e-7 + rounding);
        CHECK(y.is_guard_intact());
      }
    }
  }
}

TEST_CASE("sine_embedding: what is not finite stays in its values, and huge values give no more than 1") {
  const std::vector<float> boxes = {kNaN, 0.25f, kInfinity, 3e37f};
  const DeviceBuffer box_buffer(boxes, DType::f32), y(16, DType::f32);
  cuda::sine_embedding({floats_at(box_buffer), y.data(), 1, 4, 10000.0f, DType::f32}, nullptr);
  const auto found = y.floats();
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(std::isfinite(found[i]));   // y
    CHECK(std::isnan(found[4 + i]));  // x
    CHECK(std::isnan(found[8 + i]));  // w
  }
  CHECK(std::abs(found[14]) <= 1.0f);  // h, of the larger divisor
  CHECK_THROWS_AS(cuda::sine_embedding({nullptr, nullptr, 1, 3, 1e4f, DType::f32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::sine_embedding({nullptr, nullptr, 1, 2, 1e4f, DType::i32}, nullptr), Error);
}

}  // namespace
}  // namespace vistazo
