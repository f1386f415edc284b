#include "kernels/top_k.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/base/error.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/top_k.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

using testing::DeviceArray;
using testing::DeviceBuffer;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Compares all rows with the stable sort; values are compared as bits, since they may be NaN.
void check_top_k(const std::vector<float>& scores, int cols, int k) {
  CAPTURE(cols);
  CAPTURE(k);
  const auto rows = static_cast<std::int64_t>(scores.size()) / cols;
  const auto places = static_cast<std::size_t>(rows * k);
  const DeviceArray<float> score_array(scores), values(places);
  const DeviceArray<std::int32_t> index(places);
  TopKArgs args = {score_array.data(), values.data(), index.data(), rows, cols, k, nullptr};
  const DeviceArray<std::byte> scratch(cuda::top_k_scratch_bytes(args));
  args.scratch = scratch.data();
  cuda::top_k(args, nullptr);
  CHECK(values.is_guard_intact());
  CHECK(index.is_guard_intact());
  CHECK(scratch.is_guard_intact());
  const auto found_values = values.values();
  const auto found = index.values();
  std::size_t wrong = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* row_scores = &scores[static_cast<std::size_t>(row * cols)];
    const std::vector<std::int32_t> expected = reference::top_k(row_scores, cols, k);
    for (int i = 0; i < k; ++i) {
      const auto place = static_cast<std::size_t>(row * k + i);
      wrong += found[place] != expected[static_cast<std::size_t>(i)];
      wrong += std::memcmp(&found_values[place], &row_scores[expected[static_cast<std::size_t>(i)]], 4) != 0;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("top_k by rank") {
  for (const int cols : {1, 3, 17, 31, 32, 33, 63, 65, 197, 577, 1025, 2048, 2049, 2500}) {
    for (const int k : {1, 2, 16, 100, 300, cols / 2, cols}) {
      if (k >= 1 && k <= cols) check_top_k(testing::random_floats(std::size_t(3) * cols, cols + k), cols, k);
    }
  }
}

TEST_CASE("top_k by selection: one stage, two and three") {
  check_top_k(testing::random_floats(std::size_t(20) * 2000, 1), 2000, 300);
  check_top_k(testing::random_floats(std::size_t(2) * 8400, 2, -5.0f), 8400, 300);
  check_top_k(testing::random_floats(12288, 3), 12288, 1024);
  check_top_k(testing::random_floats(std::size_t(2) * 12289, 4), 12289, 1);
  check_top_k(testing::random_floats(27300, 5, -5.0f), 27300, 300);
  check_top_k(testing::random_floats(200003, 6), 200003, 1000);
}

TEST_CASE("top_k of rows that hurt: sorted, constant, few values, infinities, NaN, both zeros") {
  for (const int cols : {1501, 9001}) {  // by rank, and by selection but where k is large
    std::vector<float> scores(static_cast<std::size_t>(cols));
    const auto check = [&](auto&& score_of) {
      for (int i = 0; i < cols; ++i) scores[static_cast<std::size_t>(i)] = score_of(i);
      for (const int k : {1, 100, 300, 1024}) check_top_k(scores, cols, k);
    };
    check([](int i) { return static_cast<float>(i); });
    check([](int i) { return static_cast<float>(-i); });
    check([](int) { return 0.25f; });
    check([](int i) { return i * 7 % 5 ? 0.0f : -0.0f; });
    check([](int i) { return static_cast<float>(i * 31 % 11); });
    check([](int i) { return i % 64 ? -kInfinity : kNaN; });
    check([](int) { return kNaN; });
    check([](int i) {
      const float few[] = {kNaN, -kNaN, kInfinity, -kInfinity, 0.0f, -0.0f, 1e-45f, -1e-45f, 3e38f, -3e38f};
      return few[i * 7919 % 10];
    });
  }
}

TEST_CASE("top_k: values may be null, k must fit") {
  const DeviceArray<float> scores(std::vector<float>{1, 3, 2});
  const DeviceArray<std::int32_t> index(2);
  TopKArgs args = {scores.data(), nullptr, index.data(), 1, 3, 2, nullptr};
  cuda::top_k(args, nullptr);
  CHECK(index.values() == std::vector<std::int32_t>{1, 2});
  for (const int k : {0, 4}) {
    args.k = k;
    CHECK_THROWS_AS(cuda::top_k(args, nullptr), Error);
  }
}

}  // namespace
}  // namespace vistazo
