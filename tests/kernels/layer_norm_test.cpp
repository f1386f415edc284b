#include "kernels/layer_norm.h"

#include <doctest/doctest.h>

#include <string>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/layer_norm.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using testing::gather_rows;
using testing::GuardedBuffer;
using testing::max_difference;
using testing::random_floats;
using testing::spread_rows;

struct Case {
  std::int64_t rows;
  int cols;
  DType x_dtype = DType::f32, y_dtype = DType::f32;
  Activation activation = Activation::none;
  int x_gap = 0, y_gap = 0;  // elements between rows
  float eps = 1e-6f;
  int threads = 2;
};

void check(const Case& c, const std::vector<float>& values) {
  CAPTURE(c.rows);
  CAPTURE(c.cols);
  CAPTURE(std::string(name_of(c.x_dtype)));
  CAPTURE(std::string(name_of(c.y_dtype)));
  CAPTURE(static_cast<int>(c.activation));
  const auto scale = random_floats(static_cast<std::size_t>(c.cols), 2, 1.0f, 0.3f);
  const auto bias = random_floats(static_cast<std::size_t>(c.cols), 3);
  const std::vector<float> rounded = GuardedBuffer(values, c.x_dtype).floats();
  const auto expected = reference::layer_norm<double>(rounded, scale, bias, c.eps, c.activation);
  const auto plain = reference::layer_norm<float>(rounded, scale, bias, c.eps, c.activation);

  GuardedBuffer x(spread_rows(values, c.cols, c.x_gap), c.x_dtype);
  GuardedBuffer y(spread_rows(std::vector<float>(values.size(), NAN), c.cols, c.y_gap), c.y_dtype);
  cpu::layer_norm({.x = x.data(),
                   .y = y.data(),
                   .scale = scale.data(),
                   .bias = bias.data(),
                   .rows = c.rows,
                   .cols = c.cols,
                   .x_row_stride = c.cols + c.x_gap,
                   .y_row_stride = c.cols + c.y_gap,
                   .eps = c.eps,
                   .activation = c.activation,
                   .x_dtype = c.x_dtype,
                   .y_dtype = c.y_dtype},
                  ThreadPool(c.threads));

  // Twice the plain f32 loop's error, the rounding of the output, and 1e-6 for erf and exp near their largest value.
  double largest = 1.0;
  for (const double v : expected) largest = std::max(largest, std::abs(v));
  const double rounding = largest * (c.y_dtype == DType::bf16 ? 0x1p-8 : 0x1p-22);
  const double tolerance = 2 * max_difference(plain, expected) + rounding + 1e-6;
  CHECK(max_difference(gather_rows(y.floats(), c.cols, c.y_gap), expected) <= tolerance);
  CHECK(x.is_guard_intact());
  CHECK(y.is_guard_intact());
}

void check(const Case& c, float mean = 0.5f, float deviation = 2.0f) {
  check(c, random_floats(static_cast<std::size_t>(c.rows * c.cols), 1, mean, deviation));
}

TEST_CASE("layer_norm: sizes that are multiples of nothing") {
  testing::for_each_simd_target([] {
    for (const std::int64_t rows : {1, 3, 65}) {
      for (const int cols : {1, 3, 17, 63, 65, 197, 577, 1025}) check({.rows = rows, .cols = cols});
    }
  });
}

TEST_CASE("layer_norm: patches of windows, with a token in front of each, into a map between other columns") {
  const WindowGrid grid{6, 8, 2, 1};
  const ThreadPool pool(2);
  constexpr int kCols = 37, kGap = 3;
  const auto rows = static_cast<std::size_t>(3 * grid.tokens()), patches = std::size_t{3} * 6 * 8;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto scale = random_floats(kCols, 22), bias = random_floats(kCols, 23);
    GuardedBuffer x(random_floats(rows * kCols, 21), dtype), normal(rows * kCols, dtype);
    GuardedBuffer map(spread_rows(std::vector<float>(patches * kCols, NAN), kCols, kGap), dtype);
    LayerNormArgs args{.x = x.data(),
                       .y = normal.data(),
                       .scale = scale.data(),
                       .bias = bias.data(),
                       .rows = static_cast<std::int64_t>(rows),
                       .cols = kCols,
                       .x_row_stride = kCols,
                       .y_row_stride = kCols,
                       .eps = 1e-6f,
                       .activation = Activation::none,
                       .x_dtype = dtype,
                       .y_dtype = dtype};
    cpu::layer_norm(args, pool);
    args.y = map.data();
    args.rows = static_cast<std::int64_t>(patches);
    args.y_row_stride += kGap;
    args.grid = grid;
    cpu::layer_norm(args, pool);
    const std::vector<float> tokens = normal.floats();
    std::vector<float> expected;
    for (std::int64_t patch = 0; patch < args.rows; ++patch) {
      const auto row = tokens.begin() + grid.token_row(patch) * kCols;
      expected.insert(expected.end(), row, row + kCols);
    }
    CHECK(gather_rows(map.floats(), kCols, kGap) == expected);
    CHECK(map.is_guard_intact());
    args.rows -= 1;
    CHECK_THROWS_AS(cpu::layer_norm(args, pool), Error);
  }
}

TEST_CASE("layer_norm: dtypes, activations and strides") {
  testing::for_each_simd_target([] {
    for (const DType x_dtype : {DType::f32, DType::bf16}) {
      for (const DType y_dtype : {DType::f32, DType::bf16}) {
        for (const auto activation : {Activation::none, Activation::relu, Activation::silu, Activation::gelu}) {
          check({.rows = 131,
                 .cols = 197,
                 .x_dtype = x_dtype,
                 .y_dtype = y_dtype,
                 .activation = activation,
                 .x_gap = 5,
                 .y_gap = 11});
        }
      }
    }
  });
}

TEST_CASE("layer_norm: an extra result is the first, perhaps with an addend, rounded once") {
  constexpr int kRows = 31, kCols = 197;
  const auto values = random_floats(kRows * kCols, 7), addends = random_floats(kRows * kCols, 8);
  const auto scale = random_floats(kCols, 9), bias = random_floats(kCols, 10);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const bool has_addend : {true, false}) {
      GuardedBuffer y(values, DType::f32), extra(values.size(), dtype), addend(addends, dtype);
      cpu::layer_norm({.x = y.data(),
                       .y = y.data(),
                       .scale = scale.data(),
                       .bias = bias.data(),
                       .rows = kRows,
                       .cols = kCols,
                       .x_row_stride = kCols,
                       .y_row_stride = kCols,
                       .eps = 1e-6f,
                       .activation = Activation::none,
                       .x_dtype = DType::f32,
                       .y_dtype = DType::f32,
                       .extra = extra.data(),
                       .addend = has_addend ? addend.data() : nullptr,
                       .extra_dtype = dtype},
                      ThreadPool(2));
      std::vector<float> sums = y.floats();
      const std::vector<float> added = addend.floats();
      for (std::size_t i = 0; i < sums.size() && has_addend; ++i) sums[i] += added[i];
      CHECK(extra.floats() == GuardedBuffer(sums, dtype).floats());
      CHECK(extra.is_guard_intact());
      CHECK(y.floats() != values);
    }
  }
}

TEST_CASE("layer_norm: rows far from zero") {
  testing::for_each_simd_target([] {
    check({.rows = 17, .cols = 384}, 1e4f, 1.0f);
    check({.rows = 17, .cols = 1025}, -1e4f, 1.0f);
  });
}

TEST_CASE("layer_norm: constant rows give the bias") {
  // The plain f32 loop does not: the mean of equal values is off by a rounding, which 1 / sqrt(eps) magnifies.
  testing::for_each_simd_target([] {
    const auto bias = random_floats(577, 3);
    const std::vector<float> scale(577, 1.0f);
    for (const float value : {0.0f, 0.1f, -12345.678f}) {
      GuardedBuffer x(std::vector<float>(3 * 577, value), DType::f32), y(3 * 577, DType::f32);
      cpu::layer_norm({.x = x.data(),
                       .y = y.data(),
                       .scale = scale.data(),
                       .bias = bias.data(),
                       .rows = 3,
                       .cols = 577,
                       .x_row_stride = 577,
                       .y_row_stride = 577,
                       .eps = 1e-6f,
                       .activation = Activation::none,
                       .x_dtype = DType::f32,
                       .y_dtype = DType::f32},
                      ThreadPool(1));
      std::vector<float> expected;
      for (int r = 0; r < 3; ++r) expected.insert(expected.end(), bias.begin(), bias.end());
      CHECK(max_difference(y.floats(), expected) < 1e-5);
    }
  });
}

TEST_CASE("layer_norm: in place, and the same for any number of threads") {
  const auto values = random_floats(577 * 197, 4);
  const auto scale = random_floats(197, 5), bias = random_floats(197, 6);
  GuardedBuffer one(values, DType::bf16), two(values, DType::bf16);
  for (GuardedBuffer* buffer : {&one, &two}) {
    cpu::layer_norm({.x = buffer->data(),
                     .y = buffer->data(),
                     .scale = scale.data(),
                     .bias = bias.data(),
                     .rows = 577,
                     .cols = 197,
                     .x_row_stride = 197,
                     .y_row_stride = 197,
                     .eps = 1e-5f,
                     .activation = Activation::none,
                     .x_dtype = DType::bf16,
                     .y_dtype = DType::bf16},
                    ThreadPool(buffer == &one ? 1 : 2));
  }
  CHECK(one.floats() == two.floats());
  CHECK(one.floats() != GuardedBuffer(values, DType::bf16).floats());
}

TEST_CASE("layer_norm: refuses what it cannot do") {
  float value = 1.0f;
  LayerNormArgs args{.x = &value,
                     .y = &value,
                     .scale = &value,
                     .bias = &value,
                     .rows = 1,
                     .cols = 2,
                     .x_row_stride = 1,
                     .y_row_stride = 2,
                     .eps = 1e-6f,
                     .activation = Activation::none,
                     .x_dtype = DType::f32,
                     .y_dtype = DType::f32};
  CHECK_THROWS_AS(cpu::layer_norm(args, ThreadPool(1)), Error);
  args.x_row_stride = 2;
  args.x_dtype = DType::i32;
  CHECK_THROWS_AS(cpu::layer_norm(args, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
