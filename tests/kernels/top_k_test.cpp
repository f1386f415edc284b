#include "kernels/top_k.h"

#include <doctest/doctest.h>
#include <vistazo/error.h>

#include <limits>

#include "kernels/cpu/thread_pool.h"
#include "tests/reference/top_k.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Compares all rows with the stable sort; values are compared as bits, since they may be NaN.
void check_top_k(const std::vector<float>& scores, int cols, int k) {
  CAPTURE(cols);
  CAPTURE(k);
  const auto rows = static_cast<std::int64_t>(scores.size()) / cols;
  GuardedBuffer values(rows * k, DType::f32), index(rows * k, DType::i32);
  TopKArgs args = {scores.data(), values.as<float>(), index.as<std::int32_t>(), rows, cols, k, nullptr};
  GuardedBuffer scratch(cpu::top_k_scratch_bytes(args), DType::u8);
  args.scratch = scratch.data();
  cpu::top_k(args, ThreadPool(2));
  CHECK(values.is_guard_intact());
  CHECK(index.is_guard_intact());
  CHECK(scratch.is_guard_intact());
  std::size_t wrong = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* row_scores = &scores[row * cols];
    const std::vector<std::int32_t> expected = reference::top_k(row_scores, cols, k);
    for (int i = 0; i < k; ++i) {
      wrong += index.as<std::int32_t>()[row * k + i] != expected[i];
      wrong += std::memcmp(&values.as<float>()[row * k + i], &row_scores[expected[i]], sizeof(float)) != 0;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("top_k of random rows") {
  testing::for_each_simd_target([] {
    for (const int cols : {1, 3, 17, 63, 65, 197, 577, 1025, 5001}) {
      for (const int k : {1, 2, 16, 100, 300, 600, cols / 2, cols}) {
        if (k >= 1 && k <= cols) check_top_k(testing::random_floats(std::size_t(5) * cols, cols + k), cols, k);
      }
    }
    check_top_k(testing::random_floats(300 * 91, 1, -5.0f), 300 * 91, 300);
    check_top_k(testing::random_floats(67 * 129, 2), 129, 7);  // more rows than tasks
  });
}

TEST_CASE("top_k of rows that hurt: sorted, constant, few values, infinities, NaN, both zeros") {
  testing::for_each_simd_target([] {
    const int cols = 4099;
    std::vector<float> scores(cols);
    for (const int k : {1, 100, 300, 2000, cols}) {
      for (int i = 0; i < cols; ++i) scores[i] = static_cast<float>(i);
      check_top_k(scores, cols, k);
      for (int i = 0; i < cols; ++i) scores[i] = static_cast<float>(-i);
      check_top_k(scores, cols, k);
      for (int i = 0; i < cols; ++i) scores[i] = 0.25f;
      check_top_k(scores, cols, k);
      for (int i = 0; i < cols; ++i) scores[i] = i * 7 % 5 ? 0.0f : -0.0f;
      check_top_k(scores, cols, k);
      for (int i = 0; i < cols; ++i) scores[i] = static_cast<float>(i * 31 % 11);
      check_top_k(scores, cols, k);
      for (int i = 0; i < cols; ++i) scores[i] = i % 64 ? -kInfinity : kNaN;
      check_top_k(scores, cols, k);
      for (int i = 0; i < cols; ++i) scores[i] = kNaN;
      check_top_k(scores, cols, k);
      const float few[] = {kNaN, -kNaN, kInfinity, -kInfinity, 0.0f, -0.0f, 1e-45f, -1e-45f, 3e38f, -3e38f};
      for (int i = 0; i < cols; ++i) scores[i] = few[i * 7919 % 10];
      check_top_k(scores, cols, k);
    }
  });
}

TEST_CASE("top_k: values may be null, k must fit") {
  const float scores[3] = {1, 3, 2};
  std::int32_t index[3];
  std::uint64_t scratch[8];
  TopKArgs args = {scores, nullptr, index, 1, 3, 2, scratch};
  REQUIRE(cpu::top_k_scratch_bytes(args) <= sizeof(scratch));
  cpu::top_k(args, ThreadPool(1));
  CHECK(index[0] == 1);
  CHECK(index[1] == 2);
  for (const int k : {0, 4}) {
    args.k = k;
    CHECK_THROWS_AS(cpu::top_k(args, ThreadPool(1)), Error);
  }
}

}  // namespace
}  // namespace vistazo
