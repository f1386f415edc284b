#include "kernels/layer_norm.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "tests/cuda/activation_error.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/layer_norm.h"
#include "tests/support/buffers.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using testing::DeviceBuffer;
using testing::max_difference;
using testing::random_floats;

struct Case {
  std::int64_t rows;
  int cols;
  DType x_dtype = DType::f32, y_dtype = DType::f32;
  Activation activation = Activation::none;
  int x_gap = 0, y_gap = 0;  // elements between rows
  float mean = 0.5f, deviation = 2.0f;
};

LayerNormArgs dense_args(std::int64_t rows, int cols, const DeviceBuffer& x, const DeviceBuffer& y,
                         const DeviceBuffer& scale, const DeviceBuffer& bias, DType dtype) {
  return {.x = x.data(),
          .y = y.data(),
          .scale = static_cast<const float*>(scale.data()),
          .bias = static_cast<const float*>(bias.data()),
          .rows = rows,
          .cols = cols,
          .x_row_stride = cols,
          .y_row_stride = cols,
          .eps = 1e-6f,
          .activation = Activation::none,
          .x_dtype = dtype,
          .y_dtype = dtype};
}

void check(const Case& c) {
  static unsigned seed = 1;
  const auto cols = static_cast<std::size_t>(c.cols);
  const auto x =
      testing::rounded(random_floats(static_cast<std::size_t>(c.rows) * cols, seed++, c.mean, c.deviation), c.x_dtype);
  const auto scale = random_floats(cols, seed++, 1.0f, 0.3f), bias = random_floats(cols, seed++);
  const auto expected = reference::layer_norm<double>(x, scale, bias, 1e-6f, c.activation);
  const auto plain = reference::layer_norm<float>(x, scale, bias, 1e-6f, c.activation);

  const DeviceBuffer x_buffer(testing::spread_rows(x, c.cols, c.x_gap), c.x_dtype),
      y_buffer(testing::spread_rows(std::vector<float>(x.size(), NAN), c.cols, c.y_gap), c.y_dtype),
      scale_buffer(scale, DType::f32), bias_buffer(bias, DType::f32);
  LayerNormArgs args = dense_args(c.rows, c.cols, x_buffer, y_buffer, scale_buffer, bias_buffer, c.x_dtype);
  args.y_dtype = c.y_dtype;
  args.x_row_stride += c.x_gap;
  args.y_row_stride += c.y_gap;
  args.activation = c.activation;
  cuda::layer_norm(args, nullptr);

  // Twice the plain f32 loop's error, the rounding of the output, and 1e-6 for erff and expf near their largest value.
  double largest = 1.0;
  for (const double v : expected) largest = std::max(largest, std::abs(v));
  const double rounding = c.y_dtype == DType::f32 ? 0x1p-22 : c.y_dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
  CAPTURE(c.rows);
  CAPTURE(c.cols);
  CAPTURE(std::string(name_of(c.x_dtype)));
  CAPTURE(std::string(name_of(c.y_dtype)));
  CAPTURE(static_cast<int>(c.activation));
  CHECK(max_difference(testing::gather_rows(y_buffer.floats(), c.cols, c.y_gap), expected) <=
        2 * max_difference(plain, expected) +
            largest * (rounding + testing::activation_error(c.y_dtype, c.activation)) + 1e-6);
  CHECK(y_buffer.is_guard_intact());
}

TEST_CASE("layer_norm: sizes that are multiples of nothing") {
  for (const std::int64_t rows : {1, 3, 65}) {
    for (const int cols : {1, 3, 17, 63, 65, 192, 197, 384, 385, 577, 1024, 1025, 3000}) {
      check({rows, cols});
      check({rows, cols, DType::bf16, DType::bf16});
    }
    for (const int cols : {128, 192, 256, 384, 512, 768, 1024}) check({rows, cols, DType::f16, DType::f16});
  }
}

TEST_CASE("layer_norm: many rows, which come to their warps through shared memory") {
  check({9001, 192});
  check({17003, 128, DType::bf16, DType::bf16});
  check({17003, 192, DType::f16, DType::f32});
  check({9001, 384, DType::f16, DType::f16});
  check({9001, 384, DType::bf16, DType::bf16, Activation::gelu, 8, 16});
  check({4001, 512, DType::bf16, DType::bf16});
  check({4001, 1000, DType::f32, DType::bf16});
}

TEST_CASE("layer_norm: a row has the same bits among few rows and among many") {
  constexpr std::int64_t kFew = 37, kMany = 17003;
  for (const int cols : {120, 128, 192, 256, 384, 768}) {
    for (const auto& [x_dtype, y_dtype] :
         {std::pair{DType::bf16, DType::bf16}, std::pair{DType::f16, DType::f32}, std::pair{DType::f32, DType::f32}}) {
      const auto width = static_cast<std::size_t>(cols);
      const DeviceBuffer x(random_floats(kMany * width, 31), x_dtype), scale(random_floats(width, 32), DType::f32),
          bias(random_floats(width, 33), DType::f32), few(kFew * width, y_dtype), many(kMany * width, y_dtype);
      LayerNormArgs args = dense_args(kFew, cols, x, few, scale, bias, x_dtype);
      args.y_dtype = y_dtype;
      args.activation = Activation::silu;
      cuda::layer_norm(args, nullptr);
      args.y = many.data();
      args.rows = kMany;
      cuda::layer_norm(args, nullptr);
      std::vector<float> head = many.floats();
      head.resize(kFew * width);
      CAPTURE(cols);
      CAPTURE(std::string(name_of(x_dtype)));
      CHECK(few.floats() == head);
    }
  }
}

TEST_CASE("layer_norm: dtypes, activations and strides") {
  constexpr std::pair<DType, DType> kPairs[] = {
      {DType::f32, DType::f32}, {DType::f32, DType::f16},  {DType::f32, DType::bf16}, {DType::f16, DType::f32},
      {DType::f16, DType::f16}, {DType::bf16, DType::f32}, {DType::bf16, DType::bf16}};
  for (const auto& [x, y] : kPairs) {
    for (const auto activation : {Activation::none, Activation::relu, Activation::silu, Activation::gelu}) {
      check({131, 197, x, y, activation, 5, 11});  // element by element
      check({17, 384, x, y, activation, 8, 4});    // in groups
      check({5, 1300, x, y, activation, 0, 0});    // read three times
    }
  }
}

TEST_CASE("layer_norm: an extra result is the first, perhaps with an addend, rounded once") {
  for (const int cols : {197, 256, 1300}) {
    const std::size_t size = std::size_t{31} * static_cast<std::size_t>(cols);
    const auto values = random_floats(size, 7);
    const DeviceBuffer scale(random_floats(static_cast<std::size_t>(cols), 9), DType::f32),
        bias(random_floats(static_cast<std::size_t>(cols), 10), DType::f32);
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      const auto addends = testing::rounded(random_floats(size, 8), dtype);
      const DeviceBuffer addend(addends, dtype);
      for (const bool has_addend : {true, false}) {
        const DeviceBuffer y(values, DType::f32), extra(size, dtype);
        LayerNormArgs args = dense_args(31, cols, y, y, scale, bias, DType::f32);
        args.extra = extra.data();
        args.addend = has_addend ? addend.data() : nullptr;
        args.extra_dtype = dtype;
        cuda::layer_norm(args, nullptr);
        std::vector<float> sums = y.floats();
        for (std::size_t i = 0; i < size && has_addend; ++i) sums[i] += addends[i];
        CAPTURE(cols);
        CAPTURE(std::string(name_of(dtype)));
        CHECK(extra.floats() == testing::rounded(sums, dtype));
        CHECK(extra.is_guard_intact());
      }
    }
  }
}

TEST_CASE("layer_norm: patches of windows, with a token in front of each, into a map between other columns") {
  const WindowGrid grid{6, 8, 2, 1};
  for (const int cols : {384, 197, 1300}) {
    const auto width = static_cast<std::size_t>(cols), patches = std::size_t{3} * 6 * 8;
    const DeviceBuffer x(testing::rounded(random_floats(3 * grid.tokens() * width, 21), DType::bf16), DType::bf16),
        scale(random_floats(width, 22), DType::f32), bias(random_floats(width, 23), DType::f32),
        normal(3 * grid.tokens() * width, DType::bf16),
        map(testing::spread_rows(std::vector<float>(patches * width, NAN), cols, 8), DType::bf16);
    LayerNormArgs args = dense_args(3 * grid.tokens(), cols, x, normal, scale, bias, DType::bf16);
    cuda::layer_norm(args, nullptr);
    args.y = map.data();
    args.rows = static_cast<std::int64_t>(patches);
    args.y_row_stride += 8;
    args.grid = grid;
    cuda::layer_norm(args, nullptr);
    const std::vector<float> tokens = normal.floats();
    std::vector<float> expected;
    for (std::int64_t patch = 0; patch < args.rows; ++patch) {
      const auto row = tokens.begin() + grid.token_row(patch) * cols;
      expected.insert(expected.end(), row, row + cols);
    }
    CAPTURE(cols);
    CHECK(testing::gather_rows(map.floats(), cols, 8) == expected);
    CHECK(map.is_guard_intact());
    args.rows -= 1;
    CHECK_THROWS_AS(cuda::layer_norm(args, nullptr), Error);
  }
}

TEST_CASE("layer_norm: rows far from zero") {
  check({.rows = 17, .cols = 384, .mean = 1e4f, .deviation = 1.0f});
  check({.rows = 17, .cols = 1025, .mean = -1e4f, .deviation = 1.0f});
}

TEST_CASE("layer_norm: constant rows give the bias") {
  const auto bias = random_floats(577, 3);
  const DeviceBuffer bias_buffer(bias, DType::f32), scale(std::vector<float>(577, 1.0f), DType::f32);
  for (const float value : {0.0f, 0.1f, -12345.678f}) {
    const DeviceBuffer x(std::vector<float>(3 * 577, value), DType::f32), y(3 * 577, DType::f32);
    cuda::layer_norm(dense_args(3, 577, x, y, scale, bias_buffer, DType::f32), nullptr);
    std::vector<float> expected;
    for (int r = 0; r < 3; ++r) expected.insert(expected.end(), bias.begin(), bias.end());
    CHECK(max_difference(y.floats(), expected) < 1e-5);
  }
}

TEST_CASE("layer_norm: in place") {
  for (const int cols : {197, 256, 1300}) {
    const auto width = static_cast<std::size_t>(cols);
    const auto values = random_floats(57 * width, 4);
    const DeviceBuffer scale(random_floats(width, 5), DType::f32), bias(random_floats(width, 6), DType::f32),
        x(values, DType::f16), y(values.size(), DType::f16);
    cuda::layer_norm(dense_args(57, cols, x, y, scale, bias, DType::f16), nullptr);
    cuda::layer_norm(dense_args(57, cols, x, x, scale, bias, DType::f16), nullptr);
    CHECK(x.floats() == y.floats());
    CHECK(x.is_guard_intact());
  }
}

TEST_CASE("layer_norm: no rows, and what it cannot do") {
  const DeviceBuffer one(4, DType::f32);
  LayerNormArgs args = dense_args(0, 2, one, one, one, one, DType::f32);
  cuda::layer_norm(args, nullptr);
  CHECK(std::isnan(one.floats()[0]));
  args.rows = 1;
  args.x_row_stride = 1;
  CHECK_THROWS_AS(cuda::layer_norm(args, nullptr), Error);
  args.x_row_stride = 2;
  args.x_dtype = DType::i32;
  CHECK_THROWS_AS(cuda::layer_norm(args, nullptr), Error);
  args.x_dtype = DType::f16;
  args.y_dtype = DType::bf16;
  CHECK_THROWS_AS(cuda::layer_norm(args, nullptr), Error);
}

}  // namespace
}  // namespace vistazo
