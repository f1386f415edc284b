#include "kernels/elementwise.h"

#include <doctest/doctest.h>

#include <string>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/elementwise.h"
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
  std::int64_t rows, b_rows;  // b_rows 0: no b
  int cols;
  DType a_dtype = DType::f32, b_dtype = DType::f32, y_dtype = DType::f32;
  int a_gap = 0, y_gap = 0;
};

void check(const Case& c) {
  CAPTURE(c.rows);
  CAPTURE(c.b_rows);
  CAPTURE(c.cols);
  CAPTURE(std::string(name_of(c.a_dtype)));
  CAPTURE(std::string(name_of(c.b_dtype)));
  CAPTURE(std::string(name_of(c.y_dtype)));
  const std::size_t count = static_cast<std::size_t>(c.rows * c.cols);
  const auto a_values = random_floats(count, 1),
             b_values = random_floats(static_cast<std::size_t>(c.b_rows * c.cols), 2);
  GuardedBuffer a(spread_rows(a_values, c.cols, c.a_gap), c.a_dtype), b(b_values, c.b_dtype);
  GuardedBuffer y(spread_rows(std::vector<float>(count, NAN), c.cols, c.y_gap), c.y_dtype);
  cpu::add({.a = a.data(),
            .b = c.b_rows == 0 ? nullptr : b.data(),
            .y = y.data(),
            .rows = c.rows,
            .b_rows = c.b_rows,
            .cols = c.cols,
            .a_row_stride = c.cols + c.a_gap,
            .y_row_stride = c.cols + c.y_gap,
            .a_dtype = c.a_dtype,
            .b_dtype = c.b_dtype,
            .y_dtype = c.y_dtype},
           ThreadPool(2));

  // The f32 sum, rounded once more for bf16, is the only right answer: no tolerance.
  std::vector<float> expected;
  for (const double v : reference::add(gather_rows(a.floats(), c.cols, c.a_gap), b.floats())) {
    const float sum = static_cast<float>(v);
    expected.push_back(c.y_dtype == DType::f32 ? sum : float_from_bf16(bf16_from_float(sum)));
  }
  CHECK(gather_rows(y.floats(), c.cols, c.y_gap) == expected);
  CHECK(y.is_guard_intact());
}

TEST_CASE("add: sizes that are multiples of nothing") {
  testing::for_each_simd_target([] {
    for (const int cols : {1, 3, 17, 63, 65, 197, 577, 1025}) {
      for (const std::int64_t rows : {1, 3, 65}) {
        check({.rows = rows, .b_rows = rows, .cols = cols});
        check({.rows = rows, .b_rows = 1, .cols = cols});
        check({.rows = rows, .b_rows = 0, .cols = cols});
      }
    }
  });
}

TEST_CASE("add: dtypes, strides and a repeated b") {
  testing::for_each_simd_target([] {
    for (const DType a : {DType::f32, DType::bf16}) {
      for (const DType b : {DType::f32, DType::bf16}) {
        for (const DType y : {DType::f32, DType::bf16}) {
          for (const std::int64_t b_rows : {0, 7, 154}) {
            check({.rows = 154,
                   .b_rows = b_rows,
                   .cols = 197,
                   .a_dtype = a,
                   .b_dtype = b,
                   .y_dtype = y,
                   .a_gap = 3,
                   .y_gap = 10});
          }
        }
      }
    }
  });
}

TEST_CASE("add: a repeats as b does, and is copied beside the sum") {
  const auto a = random_floats(7 * 65, 1), b = random_floats(5 * 65, 2);
  for (const bool has_b : {true, false}) {
    GuardedBuffer y(70 * 65, DType::f32), copy(70 * 65, DType::f32);
    cpu::add({.a = a.data(),
              .b = has_b ? b.data() : nullptr,
              .y = y.data(),
              .rows = 70,
              .b_rows = 5,
              .cols = 65,
              .a_row_stride = 65,
              .y_row_stride = 65,
              .a_dtype = DType::f32,
              .b_dtype = DType::f32,
              .y_dtype = DType::f32,
              .a_rows = 7,
              .a_copy = copy.data()},
             ThreadPool(2));
    std::vector<float> expected, repeated;
    for (std::size_t i = 0; i < 70 * 65; ++i) {
      repeated.push_back(a[i % a.size()]);
      expected.push_back(repeated.back() + (has_b ? b[i % b.size()] : 0.0f));
    }
    CHECK(y.floats() == expected);
    CHECK(copy.floats() == repeated);
    CHECK(copy.is_guard_intact());
    CHECK(y.is_guard_intact());
  }
}

TEST_CASE("add: in place") {
  const auto values = random_floats(577 * 65, 1);
  GuardedBuffer a(values, DType::f32);
  cpu::add({.a = a.data(),
            .b = values.data(),
            .y = a.data(),
            .rows = 577,
            .b_rows = 577,
            .cols = 65,
            .a_row_stride = 65,
            .y_row_stride = 65,
            .a_dtype = DType::f32,
            .b_dtype = DType::f32,
            .y_dtype = DType::f32},
           ThreadPool(2));
  std::vector<float> twice;
  for (const float v : values) twice.push_back(2 * v);
  CHECK(a.floats() == twice);
}

TEST_CASE("add: conversion to bf16 rounds to nearest even and keeps what is special") {
  // Ties, the largest finite value (to infinity), denormals, and NaNs whose fraction would round away or is only low.
  const std::vector<std::uint32_t> bits = {0x3f808000, 0x3f818000, 0x3f80c000, 0x3f807fff, 0x3f808001, 0x7f7fffff,
                                           0x00000001, 0x00008001, 0x807fffff, 0x7f800000, 0xff800000, 0x7fffffff,
                                           0x7f800001, 0xffffffff, 0x80000000, 0x00000000, 0xbf808000};
  testing::for_each_simd_target([&] {
    GuardedBuffer y(bits.size(), DType::bf16);
    cpu::add({.a = bits.data(),
              .b = nullptr,
              .y = y.data(),
              .rows = 1,
              .b_rows = 0,
              .cols = static_cast<int>(bits.size()),
              .a_row_stride = static_cast<std::int64_t>(bits.size()),
              .y_row_stride = static_cast<std::int64_t>(bits.size()),
              .a_dtype = DType::f32,
              .b_dtype = DType::f32,
              .y_dtype = DType::bf16},
             ThreadPool(1));
    for (std::size_t i = 0; i < bits.size(); ++i) {
      CAPTURE(bits[i]);
      CHECK(y.as<std::uint16_t>()[i] == bf16_from_float(std::bit_cast<float>(bits[i])));
    }
  });
}

TEST_CASE("add: refuses what it cannot do") {
  float value = 1.0f;
  AddArgs args{.a = &value,
               .b = &value,
               .y = &value,
               .rows = 1,
               .b_rows = 0,
               .cols = 1,
               .a_row_stride = 1,
               .y_row_stride = 1,
               .a_dtype = DType::f32,
               .b_dtype = DType::f32,
               .y_dtype = DType::f32};
  CHECK_THROWS_AS(cpu::add(args, ThreadPool(1)), Error);
  args.b_rows = 1;
  args.y_dtype = DType::f16;
  CHECK_THROWS_AS(cpu::add(args, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
