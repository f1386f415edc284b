#include "kernels/gates.h"

#include <doctest/doctest.h>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/gates.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;
using testing::random_floats;
using testing::relative_error;

constexpr int kWidths[] = {1, 3, 17, 63, 65, 197, 577, 1025};

// Twice the plain f32 loop's error, the output's rounding, and 4e-7 for exp.
double tolerance(double plain, DType dtype) {
  return 2 * plain + (dtype == DType::bf16 ? 0x1p-8 : 0x1p-23) + 4e-7;
}

TEST_CASE("swiglu") {
  testing::for_each_simd_target([] {
    for (const int cols : kWidths) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const int gap : {0, 7}) {
          CAPTURE(cols);
          const std::int64_t rows = cols < 100 ? 131 : 35;
          const auto width = static_cast<std::size_t>(cols);
          const auto values = random_floats(static_cast<std::size_t>(rows) * 2 * width, 1, 0.0f, 4.0f);
          GuardedBuffer x(testing::spread_rows(values, 2 * cols, gap), dtype);
          GuardedBuffer y(values.size() / 2, dtype);
          cpu::swiglu({x.data(), y.data(), rows, cols, 2 * cols + gap, dtype}, ThreadPool(2));
          const auto rounded = GuardedBuffer(values, dtype).floats();
          const auto expected = reference::swiglu<double>(rounded, width);
          const double plain = relative_error(reference::swiglu<float>(rounded, width), expected);
          CHECK(relative_error(y.floats(), expected) <= tolerance(plain, dtype));
          CHECK(y.is_guard_intact());
        }
      }
    }
  });
}

TEST_CASE("swiglu: gates far out close or open fully") {
  testing::for_each_simd_target([] {
    const std::vector<float> x = {-1e4f, -200.0f, 0.0f, 90.0f, 2.0f, 3.0f, 5.0f, 2.0f};
    GuardedBuffer y(4, DType::f32);
    cpu::swiglu({x.data(), y.data(), 1, 4, 8, DType::f32}, ThreadPool(1));
    CHECK(y.floats() == std::vector<float>{0.0f, 0.0f, 0.0f, 180.0f});
  });
}

TEST_CASE("gated_sum") {
  testing::for_each_simd_target([] {
    for (const int cols : kWidths) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        CAPTURE(cols);
        const std::int64_t rows = cols < 100 ? 131 : 35;
        const auto width = static_cast<std::size_t>(cols), count = static_cast<std::size_t>(rows) * width;
        const auto gates = random_floats(2 * count, 1, 0.0f, 3.0f), a = random_floats(count, 2);
        GuardedBuffer b(random_floats(count, 3), dtype), y(count, DType::f32);
        cpu::gated_sum({gates.data(), a.data(), b.data(), y.as<float>(), rows, cols, dtype}, ThreadPool(2));
        const auto expected = reference::gated_sum<double>(gates, a, b.floats(), width);
        const double plain = relative_error(reference::gated_sum<float>(gates, a, b.floats(), width), expected);
        CHECK(relative_error(y.floats(), expected) <= tolerance(plain, DType::f32));
        CHECK(y.is_guard_intact());

        GuardedBuffer in_place(a, DType::f32);
        cpu::gated_sum({gates.data(), in_place.as<float>(), b.data(), in_place.as<float>(), rows, cols, dtype},
                       ThreadPool(1));
        CHECK(in_place.floats() == y.floats());
      }
    }
  });
}

TEST_CASE("gates: refuse what they cannot do") {
  float value[4] = {};
  CHECK_THROWS_AS(cpu::swiglu({value, value, 1, 2, 3, DType::f32}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::swiglu({value, value, 1, 2, 4, DType::i32}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::gated_sum({value, value, value, value, 1, 0, DType::f32}, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
