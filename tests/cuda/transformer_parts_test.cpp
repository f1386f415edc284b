#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/gates.h"
#include "kernels/rms_norm.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/gates.h"
#include "tests/reference/rms_norm.h"
#include "tests/support/buffers.h"
#include "tests/support/strided.h"

// swiglu, gated_sum and rms_norm.
namespace vistazo {
namespace {

using testing::DeviceBuffer;
using testing::random_floats;
using testing::relative_error;

constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr int kWidths[] = {1, 3, 17, 64, 65, 192, 577, 1028};

// Twice the plain f32 loop's error, the output's rounding, and 4e-7 for expf.
double tolerance(double plain, DType dtype) {
  return 2 * plain + (dtype == DType::f32 ? 0x1p-23 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8) + 4e-7;
}

float* floats(const DeviceBuffer& buffer) {
  return static_cast<float*>(buffer.data());
}

TEST_CASE("swiglu: groups, single elements, strides") {
  for (const int cols : kWidths) {
    for (const DType dtype : kDTypes) {
      for (const int gap : {0, 7, 8}) {
        CAPTURE(cols);
        CAPTURE(std::string(name_of(dtype)));
        const std::int64_t rows = cols < 100 ? 131 : 35;
        const auto width = static_cast<std::size_t>(cols);
        const auto values =
            testing::rounded(random_floats(static_cast<std::size_t>(rows) * 2 * width, 1, 0.0f, 4.0f), dtype);
        const DeviceBuffer x(testing::spread_rows(values, 2 * cols, gap), dtype), y(values.size() / 2, dtype);
        cuda::swiglu({x.data(), y.data(), rows, cols, 2 * cols + gap, dtype}, nullptr);
        const auto expected = reference::swiglu<double>(values, width);
        const double plain = relative_error(reference::swiglu<float>(values, width), expected);
        CHECK(relative_error(y.floats(), expected) <= tolerance(plain, dtype));
        CHECK(y.is_guard_intact());
      }
    }
  }
}

TEST_CASE("swiglu: groups of eight columns, which many elements take") {
  constexpr std::int64_t kRows = 3001;
  constexpr int kCols = 176;
  const auto values = testing::rounded(random_floats(2 * kRows * kCols, 1, 0.0f, 4.0f), DType::bf16);
  const DeviceBuffer x(testing::spread_rows(values, 2 * kCols, 8), DType::bf16), y(values.size() / 2, DType::bf16);
  cuda::swiglu({x.data(), y.data(), kRows, kCols, 2 * kCols + 8, DType::bf16}, nullptr);
  const auto expected = reference::swiglu<double>(values, kCols);
  const double plain = relative_error(reference::swiglu<float>(values, kCols), expected);
  CHECK(relative_error(y.floats(), expected) <= tolerance(plain, DType::bf16));
  CHECK(y.is_guard_intact());
}

TEST_CASE("swiglu: gates far out close or open fully") {
  const DeviceBuffer x(std::vector<float>{-1e4f, -200.0f, 0.0f, 90.0f, 2.0f, 3.0f, 5.0f, 2.0f}, DType::f32),
      y(4, DType::f32);
  cuda::swiglu({x.data(), y.data(), 1, 4, 8, DType::f32}, nullptr);
  CHECK(y.floats() == std::vector<float>{0.0f, 0.0f, 0.0f, 180.0f});
}

TEST_CASE("gated_sum: dtypes, in place") {
  for (const int cols : kWidths) {
    for (const DType dtype : kDTypes) {
      CAPTURE(cols);
      const std::int64_t rows = cols < 100 ? 131 : 35;
      const auto width = static_cast<std::size_t>(cols), count = static_cast<std::size_t>(rows) * width;
      const auto gates = random_floats(2 * count, 1, 0.0f, 3.0f), a = random_floats(count, 2);
      const auto b = testing::rounded(random_floats(count, 3), dtype);
      const DeviceBuffer gate_buffer(gates, DType::f32), a_buffer(a, DType::f32), b_buffer(b, dtype),
          y(count, DType::f32);
      cuda::gated_sum({floats(gate_buffer), floats(a_buffer), b_buffer.data(), floats(y), rows, cols, dtype}, nullptr);
      const auto expected = reference::gated_sum<double>(gates, a, b, width);
      const double plain = relative_error(reference::gated_sum<float>(gates, a, b, width), expected);
      CHECK(relative_error(y.floats(), expected) <= tolerance(plain, DType::f32));
      CHECK(y.is_guard_intact());
      cuda::gated_sum({floats(gate_buffer), floats(a_buffer), b_buffer.data(), floats(a_buffer), rows, cols, dtype},
                      nullptr);
      CHECK(a_buffer.floats() == y.floats());
    }
  }
}

TEST_CASE("rms_norm: sizes, dtypes, strides, large and small values") {
  constexpr float kEps = 1e-6f;
  for (const int cols : {1, 3, 17, 63, 128, 129, 192, 256, 512, 516, 577, 3000}) {
    for (const DType x_dtype : kDTypes) {
      for (const DType y_dtype : kDTypes) {
        for (const int gap : {0, 5, 8}) {
          const std::int64_t rows = 33;
          const float size = gap == 0 ? 2.0f : gap == 5 ? 100.0f : 1e-3f;
          CAPTURE(cols);
          CAPTURE(std::string(name_of(x_dtype)));
          CAPTURE(std::string(name_of(y_dtype)));
          const auto values =
              testing::rounded(random_floats(static_cast<std::size_t>(rows * cols), 1, 0.3f * size, size), x_dtype);
          const auto scale = random_floats(static_cast<std::size_t>(cols), 2, 1.0f, 0.3f);
          const auto expected = reference::rms_norm<double>(values, scale, kEps);
          const double plain = relative_error(reference::rms_norm<float>(values, scale, kEps), expected);
          const DeviceBuffer x(testing::spread_rows(values, cols, gap), x_dtype),
              y(testing::spread_rows(std::vector<float>(values.size(), NAN), cols, gap), y_dtype),
              scale_buffer(scale, DType::f32);
          cuda::rms_norm({.x = x.data(),
                          .y = y.data(),
                          .scale = floats(scale_buffer),
                          .rows = rows,
                          .cols = cols,
                          .x_row_stride = cols + gap,
                          .y_row_stride = cols + gap,
                          .eps = kEps,
                          .x_dtype = x_dtype,
                          .y_dtype = y_dtype},
                         nullptr);
          // The plain loop may be lucky in a row: a sum of n squares wanders by some sqrt(n) half roundings. Small
          // results of f16 are subnormal, with spacing 2^-24.
          const double allowed = tolerance(plain, y_dtype) + std::sqrt(cols) * 0x1p-25;
          CHECK(relative_error(testing::gather_rows(y.floats(), cols, gap), expected) <= allowed);
          CHECK(y.is_guard_intact());
        }
      }
    }
  }
}

TEST_CASE("swiglu, gated_sum, rms_norm: refuse what they cannot do") {
  CHECK_THROWS_AS(cuda::swiglu({nullptr, nullptr, 1, 2, 3, DType::f32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::swiglu({nullptr, nullptr, 1, 2, 4, DType::i32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::gated_sum({nullptr, nullptr, nullptr, nullptr, 1, 0, DType::f32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::rms_norm({nullptr, nullptr, nullptr, 1, 4, 3, 4, 1e-6f, DType::f32, DType::f32}, nullptr),
                  Error);
}

}  // namespace
}  // namespace vistazo
