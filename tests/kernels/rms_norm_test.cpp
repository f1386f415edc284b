#include "kernels/rms_norm.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/rms_norm.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using testing::gather_rows;
using testing::GuardedBuffer;
using testing::random_floats;
using testing::spread_rows;

struct Case {
  std::int64_t rows;
  int cols;
  DType x_dtype = DType::f32, y_dtype = DType::f32;
  int x_gap = 0, y_gap = 0;  // elements between rows
  float size = 2.0f;         // of the values
};

void check(const Case& c) {
  CAPTURE(c.rows);
  CAPTURE(c.cols);
  CAPTURE(std::string(name_of(c.x_dtype)));
  CAPTURE(std::string(name_of(c.y_dtype)));
  constexpr float kEps = 1e-6f;
  const auto values = random_floats(static_cast<std::size_t>(c.rows * c.cols), 1, 0.3f * c.size, c.size);
  const auto scale = random_floats(static_cast<std::size_t>(c.cols), 2, 1.0f, 0.3f);
  const auto rounded = GuardedBuffer(values, c.x_dtype).floats();
  const auto expected = reference::rms_norm<double>(rounded, scale, kEps);
  const double plain = testing::relative_error(reference::rms_norm<float>(rounded, scale, kEps), expected);

  GuardedBuffer x(spread_rows(values, c.cols, c.x_gap), c.x_dtype);
  GuardedBuffer y(spread_rows(std::vector<float>(values.size(), NAN), c.cols, c.y_gap), c.y_dtype);
  cpu::rms_norm({.x = x.data(),
                 .y = y.data(),
                 .scale = scale.data(),
                 .rows = c.rows,
                 .cols = c.cols,
                 .x_row_stride = c.cols + c.x_gap,
                 .y_row_stride = c.cols + c.y_gap,
                 .eps = kEps,
                 .x_dtype = c.x_dtype,
                 .y_dtype = c.y_dtype},
                ThreadPool(2));
  // The plain loop may be lucky in a single row: a sum of n squares wanders by some sqrt(n) half roundings.
  const double rounding = (c.y_dtype == DType::bf16 ? 0x1p-8 : 0x1p-23) + std::sqrt(c.cols) * 0x1p-25;
  CHECK(testing::relative_error(gather_rows(y.floats(), c.cols, c.y_gap), expected) <= 2 * plain + rounding);
  CHECK(y.is_guard_intact());
}

TEST_CASE("rms_norm: sizes that are multiples of nothing") {
  testing::for_each_simd_target([] {
    for (const std::int64_t rows : {1, 3, 65}) {
      for (const int cols : {1, 3, 17, 63, 65, 197, 577, 1025}) check({.rows = rows, .cols = cols});
    }
  });
}

TEST_CASE("rms_norm: dtypes, strides and sizes of values") {
  testing::for_each_simd_target([] {
    for (const DType x : {DType::f32, DType::bf16}) {
      for (const DType y : {DType::f32, DType::bf16}) {
        for (const float size : {1e-3f, 1.0f, 1e5f}) {
          check({.rows = 131, .cols = 197, .x_dtype = x, .y_dtype = y, .x_gap = 5, .y_gap = 11, .size = size});
        }
      }
    }
  });
}

TEST_CASE("rms_norm: in place, and zeros stay zeros") {
  std::vector<float> values(2 * 63, 0.0f);
  std::fill(values.begin() + 63, values.end(), -3.0f);
  const std::vector<float> scale(63, 1.0f);
  GuardedBuffer x(values, DType::f32);
  cpu::rms_norm({x.data(), x.data(), scale.data(), 2, 63, 63, 63, 1e-6f, DType::f32, DType::f32}, ThreadPool(1));
  CHECK(x.floats()[0] == 0.0f);
  CHECK(x.floats()[63] == doctest::Approx(-1.0f));
}

TEST_CASE("rms_norm: refuses what it cannot do") {
  float value = 1.0f;
  RmsNormArgs args{&value, &value, &value, 1, 2, 1, 2, 1e-6f, DType::f32, DType::f32};
  CHECK_THROWS_AS(cpu::rms_norm(args, ThreadPool(1)), Error);
  args.x_row_stride = 2;
  args.y_dtype = DType::i32;
  CHECK_THROWS_AS(cpu::rms_norm(args, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
