#include "kernels/clamp.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;

TEST_CASE("clamp") {
  testing::for_each_simd_target([] {
    for (const std::size_t count : {1, 3, 17, 63, 65, 197, 1025, 40961}) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        GuardedBuffer x(testing::random_floats(count, 1, 0.0f, 10.0f), dtype);
        auto expected = x.floats();
        for (float& v : expected) v = v < -10.0f ? -10.0f : v > 8.0f ? 8.0f : v;
        cpu::clamp({x.data(), static_cast<std::int64_t>(count), -10.0f, 8.0f, dtype}, ThreadPool(2));
        CHECK(x.floats() == expected);
        CHECK(x.is_guard_intact());
      }
    }
  });
}

TEST_CASE("clamp: infinities are clamped, a NaN stays") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  testing::for_each_simd_target([] {
    GuardedBuffer x(std::vector<float>{kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}, DType::f32);
    cpu::clamp({x.data(), 3, -1.0f, 1.0f, DType::f32}, ThreadPool(1));
    CHECK(x.floats()[0] == 1.0f);
    CHECK(x.floats()[1] == -1.0f);
    CHECK(std::isnan(x.floats()[2]));
  });
  float value = 0;
  CHECK_THROWS_AS(cpu::clamp({&value, 1, 1.0f, -1.0f, DType::f32}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::clamp({&value, 1, -1.0f, 1.0f, DType::i32}, ThreadPool(1)), Error);
}

TEST_CASE("mask_rows") {
  for (const int rows : {1, 17, 400}) {
    for (const int cols : {1, 65, 256}) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        std::vector<float> mask(static_cast<std::size_t>(rows));
        for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = i % 3 == 1 ? 0.0f : 1.0f;
        auto values = testing::random_floats(static_cast<std::size_t>(2 * rows * cols), 1);
        if (rows > 1) values[static_cast<std::size_t>(cols)] = NAN;  // in a masked row
        GuardedBuffer x(values, dtype);
        auto expected = x.floats();
        for (std::size_t i = 0; i < expected.size(); ++i) {
          if (mask[i / static_cast<std::size_t>(cols) % mask.size()] == 0.0f) expected[i] = 0.0f;
        }
        cpu::mask_rows({x.data(), mask.data(), 2, rows, cols, dtype}, ThreadPool(2));
        CHECK(x.floats() == expected);
        CHECK(x.is_guard_intact());
      }
    }
  }
  float value = 0;
  CHECK_THROWS_AS(cpu::mask_rows({&value, &value, 1, 0, 1, DType::f32}, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
