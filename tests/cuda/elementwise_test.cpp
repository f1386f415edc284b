#include "kernels/elementwise.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/activation.h"
#include "kernels/base/error.h"
#include "kernels/softmax.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/activation.h"
#include "tests/reference/elementwise.h"
#include "tests/reference/softmax.h"
#include "tests/support/buffers.h"
#include "tests/support/strided.h"

// add, activation and softmax.
namespace vistazo {
namespace {

using testing::DeviceBuffer;
using testing::random_floats;

constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16};

// A sum of two is rounded once, so that it must equal the exact one after the same rounding. b_rows 0: no b.
void check_add(int rows, int b_rows, int cols, DType a_dtype, DType b_dtype, DType y_dtype, int a_gap, int y_gap,
               std::size_t skipped) {
  const auto a = testing::rounded(random_floats(static_cast<std::size_t>(rows) * cols, 1, 0.5f), a_dtype);
  const auto b = testing::rounded(random_floats(static_cast<std::size_t>(b_rows) * cols, 2), b_dtype);
  const auto with_skipped = [&](std::vector<float> values) {
    values.insert(values.begin(), skipped, testing::kGapFiller);
    return values;
  };
  const std::vector<float> poison(a.size(), NAN);
  const DeviceBuffer a_buffer(with_skipped(testing::spread_rows(a, cols, a_gap)), a_dtype),
      b_buffer(with_skipped(b), b_dtype), y_buffer(with_skipped(testing::spread_rows(poison, cols, y_gap)), y_dtype);
  cuda::add({.a = a_buffer.at(skipped),
             .b = b_rows > 0 ? b_buffer.at(skipped) : nullptr,
             .y = y_buffer.at(skipped),
             .rows = rows,
             .b_rows = b_rows,
             .cols = cols,
             .a_row_stride = cols + a_gap,
             .y_row_stride = cols + y_gap,
             .a_dtype = a_dtype,
             .b_dtype = b_dtype,
             .y_dtype = y_dtype},
            nullptr);
  std::vector<float> expected;
  for (const double sum : reference::add(a, b)) expected.push_back(testing::rounded(static_cast<float>(sum), y_dtype));
  auto found = y_buffer.floats();
  found.erase(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(skipped));
  CAPTURE(rows);
  CAPTURE(cols);
  CAPTURE(std::string(name_of(a_dtype)) + " " + name_of(b_dtype) + " " + name_of(y_dtype));
  CHECK(testing::gather_rows(found, cols, y_gap) == expected);
  CHECK(y_buffer.is_guard_intact());
}

TEST_CASE("add: dtypes, strides, alignment and repeated rows") {
  for (const DType a : kDTypes) {
    for (const DType b : kDTypes) {
      for (const DType y : kDTypes) {
        check_add(35, 7, 12, a, b, y, 0, 0, 0);
        check_add(35, 5, 12, a, b, y, 4, 8, 4);
        check_add(33, 33, 17, a, b, y, 3, 1, 1);
        check_add(33, 0, 20, a, b, y, 8, 0, 0);
        check_add(33, 0, 20, a, b, y, 1, 0, 1);
      }
    }
  }
  check_add(3000, 500, 384, DType::f32, DType::bf16, DType::f16, 0, 8, 8);  // in groups of eight
  for (const int cols : {1, 3, 4, 63, 384, 1025}) check_add(197, 1, cols, DType::f32, DType::f32, DType::f32, 0, 0, 0);
}

TEST_CASE("add: a repeats as b does, and is copied beside the sum") {
  for (const int cols : {64, 65}) {
    const auto size = static_cast<std::size_t>(cols);
    const auto a = testing::rounded(random_floats(7 * size, 1), DType::bf16), b = random_floats(5 * size, 2);
    const DeviceBuffer a_buffer(a, DType::f32), b_buffer(b, DType::f32), y(70 * size, DType::bf16),
        copy(70 * size, DType::bf16);
    cuda::add({.a = a_buffer.data(),
               .b = b_buffer.data(),
               .y = y.data(),
               .rows = 70,
               .b_rows = 5,
               .cols = cols,
               .a_row_stride = cols,
               .y_row_stride = cols,
               .a_dtype = DType::f32,
               .b_dtype = DType::f32,
               .y_dtype = DType::bf16,
               .a_rows = 7,
               .a_copy = copy.data()},
              nullptr);
    std::vector<float> expected, repeated;
    for (std::size_t i = 0; i < 70 * size; ++i) {
      repeated.push_back(a[i % a.size()]);
      expected.push_back(testing::rounded(repeated.back() + b[i % b.size()], DType::bf16));
    }
    CHECK(y.floats() == expected);
    CHECK(copy.floats() == repeated);
    CHECK(copy.is_guard_intact());
  }
}

TEST_CASE("add: in place, nothing, and what it cannot do") {
  const auto values = random_floats(60, 5);
  const DeviceBuffer a(values, DType::f32);
  AddArgs args{a.data(), a.data(), a.data(), 5, 5, 12, 12, 12, DType::f32, DType::f32, DType::f32};
  cuda::add(args, nullptr);
  std::vector<float> doubled;
  for (const float v : values) doubled.push_back(2 * v);
  CHECK(a.floats() == doubled);
  args.rows = 0;
  cuda::add(args, nullptr);
  args.rows = 5;
  args.b_rows = 0;
  CHECK_THROWS_AS(cuda::add(args, nullptr), Error);
  args.b_rows = 5;
  args.a_row_stride = 11;
  CHECK_THROWS_AS(cuda::add(args, nullptr), Error);
  args.a_row_stride = 12;
  args.b_dtype = DType::i64;
  CHECK_THROWS_AS(cuda::add(args, nullptr), Error);
}

TEST_CASE("activation: every kind and dtype, groups and single elements") {
  for (const DType dtype : kDTypes) {
    for (const auto kind : {Activation::none, Activation::relu, Activation::silu, Activation::gelu}) {
      for (const std::size_t count : {1u, 7u, 64u, 1025u, 4100u}) {
        for (const std::size_t skipped : {0u, 1u}) {
          const auto x = testing::rounded(random_floats(count + skipped, 3, 0.0f, 4.0f), dtype);
          const DeviceBuffer x_buffer(x, dtype), y_buffer(count + skipped, dtype);
          cuda::activation({x_buffer.at(skipped), y_buffer.at(skipped), static_cast<std::int64_t>(count), kind, dtype},
                           nullptr);
          // erff and expf: 2 units in the last place of values up to 16; then the rounding of the output.
          const auto y = y_buffer.floats();
          std::size_t wrong = 0;
          for (std::size_t i = skipped; i < y.size(); ++i) {
            const double expected = reference::activate(double(x[i]), kind);
            const double rounding = dtype == DType::f32 ? 0x1p-22 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
            wrong += !(std::abs(y[i] - expected) <= std::abs(expected) * rounding + 1e-6);
          }
          CAPTURE(count);
          CHECK(wrong == 0);
          CHECK((skipped == 0 || std::isnan(y[0])));
          CHECK(y_buffer.is_guard_intact());
        }
      }
    }
  }
  CHECK_THROWS_AS(cuda::activation({nullptr, nullptr, 1, Activation::relu, DType::i32}, nullptr), Error);
}

TEST_CASE("softmax: sizes that are multiples of nothing, large scores, in place") {
  for (const int cols : {1, 3, 17, 31, 128, 129, 577, 1024, 1025, 5000}) {
    for (const float offset : {0.0f, 1e4f}) {
      const auto x = random_floats(std::size_t(7) * cols, 4, offset, 3.0f);
      const auto expected = reference::softmax<double>(x, static_cast<std::size_t>(cols));
      const double plain =
          testing::relative_error(reference::softmax<float>(x, static_cast<std::size_t>(cols)), expected);
      const DeviceBuffer x_buffer(x, DType::f32), y_buffer(x.size(), DType::f32);
      const auto run = [&](const DeviceBuffer& y) {
        cuda::softmax({static_cast<const float*>(x_buffer.data()), static_cast<float*>(y.data()), 7, cols}, nullptr);
      };
      run(y_buffer);
      CAPTURE(cols);
      CHECK(testing::relative_error(y_buffer.floats(), expected) <= 2 * plain + 0x1p-22);  // expf: 2 units
      CHECK(y_buffer.is_guard_intact());
      run(x_buffer);
      CHECK(x_buffer.floats() == y_buffer.floats());
    }
  }
  CHECK_THROWS_AS(cuda::softmax({nullptr, nullptr, 1, 0}, nullptr), Error);
}

}  // namespace
}  // namespace vistazo
