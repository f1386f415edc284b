#include "kernels/cuda/linear.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "tests/cuda/device_buffer.h"
#include "tests/cuda/gemm_paths.h"
#include "tests/reference/linear.h"
#include "tests/support/buffers.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using cuda::PackedLinear;
using testing::DeviceBuffer;
using testing::random_floats;

struct Case {
  std::int64_t rows;
  int in, out;
  DType dtype = DType::f32, y_dtype = DType::f32;
  Activation activation = Activation::none;
  bool accumulate = false, has_bias = true;
  int x_gap = 0, y_gap = 0;  // elements between rows
};

// Returns whether it ran.
bool check(const Case& c, const testing::GemmContext& context) {
  static unsigned seed = 1;
  const auto rows = static_cast<std::size_t>(c.rows), in = static_cast<std::size_t>(c.in),
             out = static_cast<std::size_t>(c.out);
  const auto x = testing::rounded(random_floats(rows * in, seed++), c.dtype);
  const auto weight = random_floats(out * in, seed++, 0.0f, 1.0f / std::sqrt(static_cast<float>(in)));
  const auto bias = c.has_bias ? random_floats(out, seed++) : std::vector<float>();
  const auto start =
      c.accumulate ? testing::rounded(random_floats(rows * out, seed++), c.y_dtype) : std::vector<float>();
  const auto weight_rounded = testing::rounded(weight, c.dtype);
  const auto expected = reference::linear<double>(x, weight_rounded, bias, start, c.in, c.out, c.activation);
  const auto plain = reference::linear<float>(x, weight_rounded, bias, start, c.in, c.out, c.activation);

  const PackedLinear linear(weight.data(), c.has_bias ? bias.data() : nullptr, c.in, c.out, c.dtype);
  const auto before = c.accumulate ? start : std::vector<float>(rows * out, NAN);
  const DeviceBuffer x_buffer(testing::spread_rows(x, c.in, c.x_gap), c.dtype),
      y_buffer(testing::spread_rows(before, c.out, c.y_gap), c.y_dtype);
  const LinearArgs args{.x = x_buffer.data(),
                        .y = y_buffer.data(),
                        .rows = c.rows,
                        .x_row_stride = c.in + c.x_gap,
                        .y_row_stride = c.out + c.y_gap,
                        .y_dtype = c.y_dtype,
                        .activation = c.activation,
                        .accumulate = c.accumulate};
  if (!testing::runs(context, [&] { linear.run(args, context); })) return false;
  CAPTURE(c.rows);
  CAPTURE(c.in);
  CAPTURE(c.out);
  CAPTURE(std::string(name_of(c.dtype)));
  CAPTURE(std::string(name_of(c.y_dtype)));
  CAPTURE(static_cast<int>(c.activation));
  CAPTURE(c.accumulate);
  CAPTURE(static_cast<int>(context.path));
  CAPTURE(context.tile);
  CHECK(testing::max_difference(testing::gather_rows(y_buffer.floats(), c.out, c.y_gap), expected) <=
        testing::gemm_tolerance(plain, expected, c.y_dtype,
                                c.accumulate && testing::begins_with_y(context, c.dtype) ? c.in : 0, c.activation));
  CHECK(y_buffer.is_guard_intact());
  return true;
}

TEST_CASE("linear: sizes that are multiples of nothing") {
  testing::for_each_gemm_path([](const testing::GemmContext& context, DType dtype) {
    for (const std::int64_t rows : {1, 3, 17, 65, 131}) {
      for (const int in : {3, 24, 192, 588}) {
        for (const int out : {4, 91, 256}) check({rows, in, out, dtype, dtype}, context);
      }
    }
    check({577, 384, 1152, dtype, dtype}, context);
    check({300, 1536, 384, dtype, DType::f32}, context);
  });
}

TEST_CASE("linear: what follows the sums") {
  testing::for_each_gemm_path([](const testing::GemmContext& context, DType dtype) {
    for (const DType y_dtype : {DType::f32, dtype}) {
      for (const auto activation : {Activation::none, Activation::relu, Activation::silu, Activation::gelu}) {
        check({131, 72, 192, dtype, y_dtype, activation}, context);
        check({65, 72, 89, dtype, y_dtype, activation, false, false}, context);
      }
    }
    for (const DType y_dtype : {DType::f32, dtype}) {
      check({131, 384, 192, dtype, y_dtype, Activation::none, true}, context);
      check({131, 384, 91, dtype, y_dtype, Activation::none, true, false}, context);
    }
    check({70, 1536, 64, dtype, DType::f32, Activation::none, true}, context);
  });
}

TEST_CASE("linear: every tile shape of sm90") {
  testing::for_each_sm90_tile([](const testing::GemmContext& context, DType dtype) {
    check({131, 200, 328, dtype, dtype, Activation::gelu}, context);
    check({1, 64, 8, dtype, DType::f32}, context);
    check({67, 8, 91, dtype, dtype, Activation::relu}, context);
    // What the persistent kernel takes, whether it keeps the weight or not: whole groups of columns, few steps.
    CHECK(check({131, 200, 352, dtype, dtype, Activation::gelu}, context));
    CHECK(check({450, 264, 96, dtype, DType::f32, Activation::none, true}, context));
    CHECK(check({450, 264, 96, dtype, dtype, Activation::none, true}, context));
    CHECK(check({450, 72, 160, dtype, dtype, Activation::silu, false, false, 8, 16}, context));
    CHECK(check({1, 64, 16, dtype, DType::f32}, context));
    CHECK(check({67, 264, 272, dtype, DType::f32, Activation::none, true, true, 16, 4}, context));
    check({200, 1536, 144, dtype, DType::f32, Activation::none, true}, context);
    check({131, 1032, 72, dtype, dtype, Activation::silu, false, false, 8, 16}, context);
    check({257, 384, 264, dtype, DType::f32, Activation::none, true, true, 16, 3}, context);
  });
}

TEST_CASE("linear: rows with gaps") {
  testing::for_each_gemm_path([](const testing::GemmContext& context, DType dtype) {
    check({131, 72, 192, dtype, dtype, Activation::relu, false, true, 8, 16}, context);
    check({131, 72, 192, dtype, dtype, Activation::none, false, true, 5, 3}, context);  // one element at a time
    check({131, 200, 100, dtype, DType::f32, Activation::none, true, true, 8, 4}, context);
    check({131, 200, 100, dtype, DType::f32, Activation::gelu, false, true, 8, 1}, context);
    check({1, 200, 100, dtype, dtype, Activation::silu}, context);
  });
}

TEST_CASE("linear: the same run twice gives the same bits") {
  testing::for_each_gemm_path([](const testing::GemmContext& context, DType dtype) {
    const auto weight = random_floats(384 * 1536, 1), x = random_floats(300 * 1536, 2);
    const PackedLinear linear(weight.data(), nullptr, 1536, 384, dtype);
    const DeviceBuffer x_buffer(x, dtype), first(300 * 384, DType::f32), second(300 * 384, DType::f32);
    for (const DeviceBuffer* y : {&first, &second}) {
      linear.run({x_buffer.data(), y->data(), 300, 1536, 384, DType::f32, Activation::none, false}, context);
    }
    CHECK(first.floats() == second.floats());
  });
}

TEST_CASE("linear: products in a row see each other's results") {
  // Each overlaps the end of the one before where the device can start kernels early.
  constexpr int kWidth = 256, kRows = 577, kProducts = 20;
  testing::for_each_gemm_path([](const testing::GemmContext& context, DType dtype) {
    std::vector<float> shift(kWidth * kWidth, 0.0f), values = testing::rounded(random_floats(kRows * kWidth, 1), dtype);
    for (std::size_t i = 0; i < kWidth; ++i) shift[i * kWidth + (i + 1) % kWidth] = 1.0f;
    const PackedLinear linear(shift.data(), nullptr, kWidth, kWidth, dtype);
    const DeviceBuffer a(values, dtype), b(values.size(), dtype);
    for (int i = 0; i < kProducts; ++i) {
      const DeviceBuffer &x = i % 2 == 0 ? a : b, &y = i % 2 == 0 ? b : a;
      linear.run({x.data(), y.data(), kRows, kWidth, kWidth, dtype, Activation::none, false}, context);
    }
    std::vector<float> expected(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      expected[i] = values[i / kWidth * kWidth + (i % kWidth + kProducts) % kWidth];
    }
    CHECK(a.floats() == expected);
  });
}

TEST_CASE("linear: no rows, and what it cannot do") {
  const float weight[4] = {1, 2, 3, 4};
  const PackedLinear linear(weight, nullptr, 2, 2, DType::f16);
  CHECK(linear.in() == 2);
  CHECK(linear.out() == 2);
  CHECK(linear.bytes() >= 8);
  const DeviceBuffer x(4, DType::f16), y(4, DType::f32);
  LinearArgs args{x.data(), y.data(), 0, 2, 2, DType::f32, Activation::none, false};
  linear.run(args, {});
  CHECK(std::isnan(y.floats()[0]));
  args.rows = 2;
  args.x_row_stride = 1;
  CHECK_THROWS_AS(linear.run(args, {}), Error);
  args.x_row_stride = 2;
  args.y_dtype = DType::bf16;
  CHECK_THROWS_AS(linear.run(args, {}), Error);
  args.y_dtype = DType::f16;
  args.accumulate = true;
  args.activation = Activation::relu;
  CHECK_THROWS_AS(linear.run(args, {}), Error);
  CHECK_THROWS_AS(PackedLinear(weight, nullptr, 0, 2, DType::f16), Error);
  CHECK_THROWS_AS(PackedLinear(weight, nullptr, 2, 2, DType::i32), Error);
}

}  // namespace
}  // namespace vistazo
