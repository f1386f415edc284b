#include "kernels/softmax.h"

#include <doctest/doctest.h>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/softmax.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;
using testing::max_difference;
using testing::random_floats;

void check(std::int64_t rows, int cols, const std::vector<float>& values) {
  CAPTURE(rows);
  CAPTURE(cols);
  const auto expected = reference::softmax<double>(values, static_cast<std::size_t>(cols));
  const auto plain = reference::softmax<float>(values, static_cast<std::size_t>(cols));
  GuardedBuffer y(values.size(), DType::f32);
  cpu::softmax({.x = values.data(), .y = y.as<float>(), .rows = rows, .cols = cols}, ThreadPool(2));
  // Twice the plain f32 loop's error; 2e-7 for a row that the plain loop happens to get exactly.
  CHECK(max_difference(y.floats(), expected) <= 2 * max_difference(plain, expected) + 2e-7);
  CHECK(y.is_guard_intact());
}

TEST_CASE("softmax: sizes that are multiples of nothing") {
  testing::for_each_simd_target([] {
    for (const int cols : {1, 3, 16, 17, 63, 65, 197, 577, 1025}) {
      for (const std::int64_t rows : {1, 3, 65}) {
        check(rows, cols, random_floats(static_cast<std::size_t>(rows * cols), 1, 0.0f, 4.0f));
      }
    }
  });
}

TEST_CASE("softmax: large scores, one dominant score, equal scores") {
  testing::for_each_simd_target([] {
    check(7, 65, random_floats(7 * 65, 2, 0.0f, 1e4f));
    check(7, 65, random_floats(7 * 65, 3, 1e4f, 1.0f));
    check(7, 65, random_floats(7 * 65, 3, -1e4f, 1.0f));
    std::vector<float> dominant(65, -1e4f);
    dominant[64] = 1e4f;
    check(1, 65, dominant);
    check(1, 577, std::vector<float>(577, -1e4f));
  });
}

TEST_CASE("softmax: minus infinity takes no part, NaN makes its row NaN and no other") {
  testing::for_each_simd_target([] {
    for (const std::size_t column : {std::size_t{0}, std::size_t{9}, std::size_t{18}}) {
      std::vector<float> x = random_floats(3 * 19, 4);
      x[column] = -INFINITY;
      x[19 + column] = NAN;
      std::vector<float> y(x.size());
      cpu::softmax({.x = x.data(), .y = y.data(), .rows = 3, .cols = 19}, ThreadPool(1));
      for (std::size_t c = 0; c < 19; ++c) {
        CHECK((c == column ? y[c] == 0.0f : y[c] > 0.0f));
        CHECK(std::isnan(y[19 + c]));
        CHECK(y[38 + c] > 0.0f);
      }
    }
  });
}

TEST_CASE("softmax: in place") {
  const auto values = random_floats(577 * 65, 5);
  GuardedBuffer x(values, DType::f32);
  cpu::softmax({.x = x.as<float>(), .y = x.as<float>(), .rows = 577, .cols = 65}, ThreadPool(2));
  CHECK(max_difference(x.floats(), reference::softmax<double>(values, 65)) < 1e-6);
  CHECK_THROWS_AS(cpu::softmax({.x = x.as<float>(), .y = x.as<float>(), .rows = 1, .cols = 0}, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
