#include "kernels/cpu/linear.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <optional>
#include <string>
#include <thread>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/linear.h"
#include "tests/support/buffers.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using cpu::PackedLinear;
using testing::gather_rows;
using testing::GuardedBuffer;
using testing::random_floats;
using testing::relative_error;
using testing::spread_rows;

struct Case {
  std::int64_t rows;
  int in, out;
  DType dtype = DType::f32, y_dtype = DType::f32;
  Activation activation = Activation::none;
  bool accumulate = false, has_bias = true;
  int x_gap = 0, y_gap = 0;  // elements between rows
  int threads = 2;
};

// Empty where this processor cannot multiply the dtype.
std::optional<PackedLinear> packed(const std::vector<float>& weight, const std::vector<float>& bias, const Case& c) {
  try {
    return PackedLinear(weight.data(), bias.empty() ? nullptr : bias.data(), c.in, c.out, c.dtype);
  } catch (const Error& error) {
    REQUIRE(error.code == Error::Code::unsupported);
    REQUIRE(c.dtype != DType::f32);
    return std::nullopt;
  }
}

void check(const Case& c) {
  CAPTURE(c.rows);
  CAPTURE(c.in);
  CAPTURE(c.out);
  CAPTURE(std::string(name_of(c.dtype)));
  CAPTURE(std::string(name_of(c.y_dtype)));
  CAPTURE(static_cast<int>(c.activation));
  CAPTURE(c.accumulate);
  CAPTURE(c.x_gap);
  CAPTURE(c.y_gap);
  CAPTURE(c.threads);
  const std::size_t rows = static_cast<std::size_t>(c.rows);
  const auto values = random_floats(rows * static_cast<std::size_t>(c.in), 1);
  const auto weight = random_floats(static_cast<std::size_t>(c.in) * static_cast<std::size_t>(c.out), 2, 0.0f, 0.05f);
  const auto bias = c.has_bias ? random_floats(static_cast<std::size_t>(c.out), 3) : std::vector<float>();
  const auto start = c.accumulate
                         ? GuardedBuffer(random_floats(rows * static_cast<std::size_t>(c.out), 4), c.y_dtype).floats()
                         : std::vector<float>();
  const auto linear = packed(weight, bias, c);
  if (!linear) return;

  const std::vector<float> x_rounded = GuardedBuffer(values, c.dtype).floats();
  const std::vector<float> weight_rounded = GuardedBuffer(weight, c.dtype).floats();
  const auto expected = reference::linear<double>(x_rounded, weight_rounded, bias, start, c.in, c.out, c.activation);
  const auto plain = reference::linear<float>(x_rounded, weight_rounded, bias, start, c.in, c.out, c.activation);

  GuardedBuffer x(spread_rows(values, c.in, c.x_gap), c.dtype);
  const std::vector<float> poison(rows * static_cast<std::size_t>(c.out), NAN);
  GuardedBuffer y(spread_rows(c.accumulate ? start : poison, c.out, c.y_gap), c.y_dtype);
  linear->run({.x = x.data(),
               .y = y.data(),
               .rows = c.rows,
               .x_row_stride = c.in + c.x_gap,
               .y_row_stride = c.out + c.y_gap,
               .y_dtype = c.y_dtype,
               .activation = c.activation,
               .accumulate = c.accumulate},
              ThreadPool(c.threads));

  // Twice the error of the plain f32 loop and one rounding of the output (a bf16's is at most 2^-8 of it). A single
  // product may round better in the plain loop by chance, hence two roundings of f32; oneDNN's erf and exp add 2e-7.
  const double rounding = c.y_dtype == DType::bf16 ? 0x1p-8 : 0x1p-23;
  const double tolerance = 2 * relative_error(plain, expected) + rounding + 4e-7;
  CHECK(relative_error(gather_rows(y.floats(), c.out, c.y_gap), expected) <= tolerance);
  CHECK(x.is_guard_intact());
  CHECK(y.is_guard_intact());
}

TEST_CASE("linear: sizes that are multiples of nothing") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    // All pairs of the sizes, not all triples: making a kernel takes longer than running it.
    constexpr int kRows[] = {1, 3, 17, 65, 197}, kIn[] = {1, 3, 17, 65, 192}, kOut[] = {1, 4, 63, 91, 256};
    for (int i = 0; i < 5; ++i) {
      for (int j = 0; j < 5; ++j) check({.rows = kRows[i], .in = kIn[j], .out = kOut[(i + j) % 5], .dtype = dtype});
    }
    check({.rows = 1025, .in = 65, .out = 67, .dtype = dtype});
    check({.rows = 65, .in = 1025, .out = 197, .dtype = dtype});
  }
}

TEST_CASE("linear: outputs, activations, accumulation, bias and threads") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int threads : {1, 2, 3}) {
      for (const bool has_bias : {false, true}) {
        Case c{.rows = 77, .in = 100, .out = 72, .dtype = dtype, .has_bias = has_bias, .threads = threads};
        for (const DType y_dtype : {DType::f32, dtype}) {
          c.y_dtype = y_dtype;
          for (const auto activation : {Activation::none, Activation::relu, Activation::silu, Activation::gelu}) {
            c.activation = activation;
            check(c);
          }
        }
        c.activation = Activation::none;
        c.accumulate = true;
        for (const DType y_dtype : {DType::f32, dtype}) {
          c.y_dtype = y_dtype;
          check(c);
        }
      }
    }
  }
}

TEST_CASE("linear: column slices of wider tensors") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const std::int64_t rows : {1, 71, 72, 127, 300}) {
      for (const int threads : {1, 2}) {
        Case c{.rows = rows, .in = 65, .out = 72, .dtype = dtype, .y_dtype = dtype, .threads = threads};
        c.x_gap = 7;
        check(c);
        c.y_gap = 9;
        c.activation = Activation::gelu;
        check(c);
        c.x_gap = 0;
        check(c);
        c.activation = Activation::none;
        c.y_dtype = DType::f32;
        c.accumulate = true;
        check(c);
      }
    }
  }
}

TEST_CASE("linear: one object on several threads, and the caller's team size stays") {
  const int in = 65, out = 72;
  const auto weight = random_floats(in * out, 1);
  const auto values = random_floats(300 * in, 2);
  const PackedLinear linear(weight.data(), nullptr, in, out, DType::f32);
  const auto expected = reference::linear<double>(values, weight, {}, {}, in, out, Activation::none);
  std::vector<double> errors(4, 1.0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < errors.size(); ++t) {
    threads.emplace_back([&, t] {
      double worst = 0.0;
      for (int repeat = 0; repeat < 20; ++repeat) {
        const std::int64_t rows = 1 + static_cast<std::int64_t>(t) * 70 + repeat;  // each thread adds its own sizes
        GuardedBuffer y(static_cast<std::size_t>(rows) * out, DType::f32);
        linear.run({.x = values.data(),
                    .y = y.data(),
                    .rows = rows,
                    .x_row_stride = in,
                    .y_row_stride = out,
                    .y_dtype = DType::f32,
                    .activation = Activation::none,
                    .accumulate = false},
                   ThreadPool(1 + repeat % 2));
        const std::vector<double> head(expected.begin(), expected.begin() + rows * out);
        worst = std::max(worst, relative_error(y.floats(), head));
      }
      errors[t] = worst;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const double error : errors) CHECK(error < 1e-6);

  const int before = omp_get_max_threads();
  check({.rows = 5, .in = 3, .out = 4, .threads = before + 1});
  CHECK(omp_get_max_threads() == before);
}

TEST_CASE("linear: the number of threads changes no bit") {
  const int in = 65, out = 72;
  const auto weight = random_floats(in * out, 1), values = random_floats(1000 * in, 2);
  const PackedLinear linear(weight.data(), nullptr, in, out, DType::f32);
  for (const std::int64_t rows : {60, 100, 1000}) {
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 5}) {
      GuardedBuffer y(static_cast<std::size_t>(rows) * out, DType::f32);
      linear.run({.x = values.data(),
                  .y = y.data(),
                  .rows = rows,
                  .x_row_stride = in,
                  .y_row_stride = out,
                  .y_dtype = DType::f32,
                  .activation = Activation::gelu,
                  .accumulate = false},
                 ThreadPool(threads));
      results.push_back(y.floats());
    }
    CHECK(results[0] == results[1]);
    CHECK(results[0] == results[2]);
  }
}

TEST_CASE("linear: inside a loop of the pool") {
  const int in = 65, out = 72;
  const auto weight = random_floats(in * out, 1);
  const auto values = random_floats(200 * in, 2);
  const PackedLinear linear(weight.data(), nullptr, in, out, DType::f32);
  const auto expected = reference::linear<double>(values, weight, {}, {}, in, out, Activation::none);
  GuardedBuffer y(200 * out, DType::f32);
  const ThreadPool pool(2);
  pool.for_each(2, [&](std::int64_t half, int) {
    linear.run({.x = values.data() + half * 100 * in,
                .y = y.as<float>() + half * 100 * out,
                .rows = 100,
                .x_row_stride = in,
                .y_row_stride = out,
                .y_dtype = DType::f32,
                .activation = Activation::none,
                .accumulate = false},
               pool);
  });
  CHECK(relative_error(y.floats(), expected) < 1e-6);
}

TEST_CASE("linear: more sizes than it keeps kernels for") {
  const auto weight = random_floats(17 * 19, 1);
  const auto values = random_floats(150 * 17, 2);
  const PackedLinear linear(weight.data(), nullptr, 17, 19, DType::f32);
  const auto expected = reference::linear<double>(values, weight, {}, {}, 17, 19, Activation::none);
  for (std::int64_t rows = 1; rows <= 150; ++rows) {
    GuardedBuffer y(static_cast<std::size_t>(rows) * 19, DType::f32);
    linear.run({.x = values.data(),
                .y = y.data(),
                .rows = rows,
                .x_row_stride = 17,
                .y_row_stride = 19,
                .y_dtype = DType::f32,
                .activation = Activation::none,
                .accumulate = false},
               ThreadPool(2));
    CHECK(relative_error(y.floats(), std::vector<double>(expected.begin(), expected.begin() + rows * 19)) < 1e-6);
  }
}

TEST_CASE("linear: refuses what it cannot do") {
  const std::vector<float> values(64, 1.0f);
  std::vector<float> y(64);
  const ThreadPool pool(1);
  CHECK_THROWS_AS(PackedLinear(values.data(), nullptr, 0, 4, DType::f32), Error);
  CHECK_THROWS_AS(PackedLinear(values.data(), nullptr, 4, 4, DType::i32), Error);
  const PackedLinear linear(values.data(), nullptr, 4, 4, DType::f32);
  CHECK(linear.in() == 4);
  CHECK(linear.out() == 4);
  CHECK(linear.bytes() >= 64);
  const LinearArgs good{.x = values.data(),
                        .y = y.data(),
                        .rows = 2,
                        .x_row_stride = 4,
                        .y_row_stride = 4,
                        .y_dtype = DType::f32,
                        .activation = Activation::none,
                        .accumulate = false};
  LinearArgs args = good;
  args.y_dtype = DType::bf16;
  CHECK_THROWS_AS(linear.run(args, pool), Error);
  args = good;
  args.accumulate = true;
  args.activation = Activation::relu;
  CHECK_THROWS_AS(linear.run(args, pool), Error);
  args = good;
  args.y_row_stride = 3;
  CHECK_THROWS_AS(linear.run(args, pool), Error);
  args = good;
  args.rows = 0;
  linear.run(args, pool);
  CHECK(y == std::vector<float>(64));
}

}  // namespace
}  // namespace vistazo
