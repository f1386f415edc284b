#include "kernels/distribution.h"

#include <doctest/doctest.h>

#include <limits>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/distribution.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;
using testing::random_floats;
using testing::relative_error;

constexpr std::size_t kBins[] = {1, 3, 17, 33, 63, 65, 197, 256};

TEST_CASE("edge_boxes") {
  testing::for_each_simd_target([] {
    for (const std::size_t bins : kBins) {
      for (const std::size_t rows : {1, 17, 300}) {
        CAPTURE(bins);
        auto logits = random_floats(rows * 4 * bins, 1, 0.0f, 3.0f);
        logits[0] = 100.0f;  // one certain edge
        const auto weights = random_floats(bins, 2, 0.0f, 2.0f);
        const auto boxes = random_floats(rows * 4, 3, 0.5f, 0.2f);
        GuardedBuffer y(boxes.size(), DType::f32);
        const EdgeLogits edges{logits.data(), static_cast<std::int64_t>(rows), static_cast<int>(bins)};
        cpu::edge_boxes({edges, weights.data(), boxes.data(), y.as<float>(), 4.0f}, ThreadPool(2));
        const auto expected = reference::edge_boxes<double>(logits, weights, boxes, 4.0f);
        const double plain = relative_error(reference::edge_boxes<float>(logits, weights, boxes, 4.0f), expected);
        CHECK(relative_error(y.floats(), expected) <= 2 * plain + 4e-7);
        CHECK(y.is_guard_intact());

        GuardedBuffer in_place(boxes, DType::f32);
        cpu::edge_boxes({edges, weights.data(), in_place.as<float>(), in_place.as<float>(), 4.0f}, ThreadPool(1));
        CHECK(in_place.floats() == y.floats());
      }
    }
  });
}

TEST_CASE("edge_boxes: a NaN stays in its box") {
  std::vector<float> logits(2 * 4 * 33, 0.0f);
  logits[40] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> weights(33, 0.0f), boxes = {0.5f, 0.25f, 1.0f, 0.5f, 0.5f, 0.25f, 1.0f, 0.5f};
  testing::for_each_simd_target([&] {
    GuardedBuffer y(8, DType::f32);
    cpu::edge_boxes({{logits.data(), 2, 33}, weights.data(), boxes.data(), y.as<float>(), 4.0f}, ThreadPool(1));
    CHECK(std::isnan(y.floats()[1]));
    CHECK(std::vector<float>(y.as<float>() + 4, y.as<float>() + 8) == std::vector<float>{0.5f, 0.25f, 1.0f, 0.5f});
  });
}

TEST_CASE("edge_peaks") {
  testing::for_each_simd_target([] {
    for (const std::size_t bins : kBins) {
      for (const std::size_t k : {1, 4}) {
        if (k > bins) continue;
        for (const DType dtype : {DType::f32, DType::bf16}) {
          CAPTURE(bins);
          const std::size_t rows = 131;
          auto logits = random_floats(rows * 4 * bins, 1, 0.0f, 3.0f);
          std::fill_n(logits.begin(), bins, 1.0f);  // ties
          GuardedBuffer y(rows * 4 * (k + 1), dtype);
          const EdgeLogits edges{logits.data(), static_cast<std::int64_t>(rows), static_cast<int>(bins)};
          cpu::edge_peaks({edges, y.data(), static_cast<int>(k), dtype}, ThreadPool(2));
          const auto expected = reference::edge_peaks<double>(logits, bins, k);
          const double plain = relative_error(reference::edge_peaks<float>(logits, bins, k), expected);
          const double rounding = dtype == DType::bf16 ? 0x1p-8 : 0x1p-23;
          CHECK(relative_error(y.floats(), expected) <= 2 * plain + rounding + 4e-7);
          CHECK(y.is_guard_intact());
        }
      }
    }
  });
}

TEST_CASE("distributions: wrong arguments are named") {
  float value[16] = {};
  CHECK_THROWS_AS(cpu::edge_boxes({{value, 1, 0}, value, value, value, 1.0f}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::edge_boxes({{value, 1, 257}, value, value, value, 1.0f}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::edge_boxes({{value, 1, 1}, value, value, value, 0.0f}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::edge_peaks({{value, 1, 2}, value, 3, DType::f32}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::edge_peaks({{value, 1, 2}, value, 1, DType::i32}, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
