#include "kernels/cpu/convolution.h"

#include <doctest/doctest.h>

#include <cmath>
#include <ctime>
#include <string>
#include <thread>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/convolution.h"
#include "tests/support/buffers.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using cpu::PackedConvolution;
using testing::gather_rows;
using testing::GuardedBuffer;
using testing::random_floats;
using testing::relative_error;
using testing::spread_rows;

struct Case {
  ConvolutionShape shape;
  int batch, height, width;
  DType dtype = DType::f32, y_dtype = DType::f32;
  Activation activation = Activation::none;
  bool has_bias = true;
  int threads = 2;
  int x_gap = 0, y_gap = 0;  // elements between a pixel's channels and the next pixel's
  bool accumulate = false;
  float post_scale = 1, post_bias = 0;
};

std::size_t product(std::initializer_list<int> factors) {
  std::size_t result = 1;
  for (const int factor : factors) result *= static_cast<std::size_t>(factor);
  return result;
}

void check(const Case& c) {
  const ConvolutionShape& s = c.shape;
  CAPTURE(s.in_channels);
  CAPTURE(s.out_channels);
  CAPTURE(s.kernel_height);
  CAPTURE(s.stride);
  CAPTURE(s.padding);
  CAPTURE(s.groups);
  CAPTURE(c.height);
  CAPTURE(c.width);
  CAPTURE(std::string(name_of(c.dtype)));
  CAPTURE(std::string(name_of(c.y_dtype)));
  CAPTURE(static_cast<int>(c.activation));
  CAPTURE(c.x_gap);
  CAPTURE(c.y_gap);
  CAPTURE(c.accumulate);
  const auto values = random_floats(product({c.batch, c.height, c.width, s.in_channels}), 1);
  const auto weight = random_floats(
      product({s.out_channels, s.in_channels / s.groups, s.kernel_height, s.kernel_width}), 2, 0.0f, 0.1f);
  const auto bias = c.has_bias ? random_floats(product({s.out_channels}), 3) : std::vector<float>();
  std::unique_ptr<PackedConvolution> convolution;
  try {
    convolution = std::make_unique<PackedConvolution>(weight.data(), c.has_bias ? bias.data() : nullptr, s, c.dtype);
  } catch (const Error& error) {
    REQUIRE(error.code == Error::Code::unsupported);
    REQUIRE(c.dtype == DType::bf16);
    return;
  }
  GuardedBuffer x(spread_rows(values, s.in_channels, c.x_gap), c.dtype);
  const auto x_rounded = GuardedBuffer(values, c.dtype).floats();
  const auto weight_rounded = GuardedBuffer(weight, c.dtype).floats();
  const std::size_t y_count = product({c.batch, s.out_height(c.height), s.out_width(c.width), s.out_channels});
  const auto y_before =
      c.accumulate ? GuardedBuffer(random_floats(y_count, 4), c.y_dtype).floats() : std::vector<float>();
  const auto expected = reference::convolution<double>(x_rounded, weight_rounded, bias, s, c.batch, c.height, c.width,
                                                       c.activation, y_before, c.post_scale, c.post_bias);
  const auto plain = reference::convolution<float>(x_rounded, weight_rounded, bias, s, c.batch, c.height, c.width,
                                                   c.activation, y_before, c.post_scale, c.post_bias);
  const auto poison = std::vector<float>(y_count, NAN);
  GuardedBuffer y(spread_rows(c.accumulate ? y_before : poison, s.out_channels, c.y_gap), c.y_dtype);
  convolution->run({.x = x.data(),
                    .y = y.data(),
                    .batch = c.batch,
                    .height = c.height,
                    .width = c.width,
                    .y_dtype = c.y_dtype,
                    .activation = c.activation,
                    .x_pixel_stride = c.x_gap == 0 ? 0 : s.in_channels + c.x_gap,
                    .y_pixel_stride = c.y_gap == 0 ? 0 : s.out_channels + c.y_gap,
                    .accumulate = c.accumulate,
                    .post_scale = c.post_scale,
                    .post_bias = c.post_bias},
                   ThreadPool(c.threads));
  // As for linear: twice the plain f32 loop's error, one rounding of the output, 4e-7 for oneDNN's erf and exp.
  const double tolerance = 2 * relative_error(plain, expected) + (c.y_dtype == DType::bf16 ? 0x1p-8 : 0x1p-23) + 4e-7;
  CHECK(relative_error(gather_rows(y.floats(), s.out_channels, c.y_gap), expected) <= tolerance);
  CHECK(x.is_guard_intact());
  CHECK(y.is_guard_intact());
}

TEST_CASE("convolution: kernels, strides, paddings and groups") {
  const ConvolutionShape shapes[] = {
      {.in_channels = 32, .out_channels = 32, .kernel_height = 3, .kernel_width = 3, .padding = 1},
      {.in_channels = 17, .out_channels = 19, .kernel_height = 3, .kernel_width = 3, .stride = 2, .padding = 1},
      {.in_channels = 65, .out_channels = 3, .kernel_height = 1, .kernel_width = 1},
      {.in_channels = 1, .out_channels = 1, .kernel_height = 5, .kernel_width = 3, .padding = 2},
      {.in_channels = 3, .out_channels = 40, .kernel_height = 4, .kernel_width = 4, .stride = 4},
      {.in_channels = 33, .out_channels = 33, .kernel_height = 3, .kernel_width = 3, .padding = 1, .groups = 33},
      {.in_channels = 12, .out_channels = 20, .kernel_height = 3, .kernel_width = 3, .padding = 1, .groups = 4},
      {.in_channels = 32, .out_channels = 64, .kernel_height = 3, .kernel_width = 3, .padding = 1, .groups = 2},
  };
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const ConvolutionShape& shape : shapes) {
      check({.shape = shape, .batch = 1, .height = 5, .width = 7, .dtype = dtype});
      check({.shape = shape, .batch = 2, .height = 17, .width = 13, .dtype = dtype, .y_dtype = dtype});
      check({.shape = shape, .batch = 3, .height = 8, .width = 33, .dtype = dtype, .has_bias = false, .threads = 1});
      for (const auto activation : {Activation::relu, Activation::silu, Activation::gelu}) {
        check({.shape = shape, .batch = 1, .height = 9, .width = 9, .dtype = dtype, .activation = activation});
      }
    }
  }
}

// Heights around those where an image is cut into one band more, and strides and paddings that a band's edge must meet.
TEST_CASE("convolution: bands of rows") {
  for (const int height : {7, 8, 15, 16, 17, 31, 33, 140}) {
    for (const int stride : {1, 2, 3}) {
      for (const int kernel : {1, 3, 5}) {
        const ConvolutionShape shape{.in_channels = 4,
                                     .out_channels = 6,
                                     .kernel_height = kernel,
                                     .kernel_width = 3,
                                     .stride = stride,
                                     .padding = kernel / 2};
        check({.shape = shape, .batch = 1 + height % 2, .height = height, .width = 6});
      }
    }
  }
  // Padding beyond the kernel: whole rows of the output see only zeros.
  check({.shape = {.in_channels = 4, .out_channels = 6, .kernel_height = 3, .kernel_width = 3, .padding = 3},
         .batch = 2,
         .height = 40,
         .width = 5});
}

// Slices of channels on either side, sums onto what is there, an affine map behind the activation: each alone, then
// all.
TEST_CASE("convolution: slices, sums and a learned affine map") {
  const ConvolutionShape shapes[] = {
      {.in_channels = 24, .out_channels = 32, .kernel_height = 3, .kernel_width = 3, .padding = 1},
      {.in_channels = 17, .out_channels = 19, .kernel_height = 3, .kernel_width = 3, .stride = 2, .padding = 1},
      {.in_channels = 64, .out_channels = 48, .kernel_height = 1, .kernel_width = 1},
      {.in_channels = 33, .out_channels = 33, .kernel_height = 5, .kernel_width = 5, .padding = 2, .groups = 33},
  };
  for (const ConvolutionShape& shape : shapes) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Case plain{.shape = shape, .batch = 2, .height = 19, .width = 7, .dtype = dtype, .y_dtype = dtype};
      for (const int what : {0, 1, 2, 3, 4}) {
        Case c = plain;
        c.activation = what % 2 == 0 ? Activation::relu : Activation::silu;
        if (what == 0 || what == 4) c.x_gap = 16;
        if (what == 1 || what == 4) c.y_gap = 5;
        if (what == 2 || what == 4) c.accumulate = true;
        if (what == 3 || what == 4) c.post_scale = -1.75f, c.post_bias = 0.375f;
        check(c);
        c.y_dtype = DType::f32;
        c.batch = 1;
        check(c);
      }
    }
  }
}

TEST_CASE("convolution: zeros beyond the end only") {
  for (const int kernel : {2, 3, 4}) {
    for (const int height : {1, 6, 33}) {
      for (const int stride : {1, 2}) {
        const ConvolutionShape shape{.in_channels = 8,
                                     .out_channels = 12,
                                     .kernel_height = kernel,
                                     .kernel_width = kernel,
                                     .stride = stride,
                                     .padding = (kernel - 1) / 2,
                                     .end_padding = 1};
        check({.shape = shape, .batch = 2, .height = height, .width = 9});
        check({.shape = shape, .batch = 1, .height = height, .width = 8, .dtype = DType::bf16, .x_gap = 8});
      }
    }
  }
}

// Sizes for which oneDNN has fast kernels only in another layout than that of the nominal size; its reference loops
// would take seconds.
TEST_CASE("convolution: sizes that need the weight in a layout of their own") {
  const ConvolutionShape shape{.in_channels = 256, .out_channels = 512, .kernel_height = 1, .kernel_width = 1};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int side : {20, 5, 33, 20}) {
      check({.shape = shape, .batch = 1, .height = side, .width = side, .dtype = dtype, .y_dtype = dtype});
    }
  }
  const std::vector<float> weight(256 * 512), x(400 * 256);
  std::vector<float> y(400 * 512);
  const PackedConvolution convolution(weight.data(), nullptr, shape, DType::f32);
  const ConvolutionArgs args{.x = x.data(),
                             .y = y.data(),
                             .batch = 1,
                             .height = 20,
                             .width = 20,
                             .y_dtype = DType::f32,
                             .activation = Activation::none};
  convolution.run(args, ThreadPool(1));
  const std::clock_t start = std::clock();  // the processor's time: other programs do not count
  convolution.run(args, ThreadPool(1));
  // 1 ms on a core of 100 GFLOP/s; the reference loops took 1000.
  CHECK(static_cast<double>(std::clock() - start) < 0.2 * CLOCKS_PER_SEC);
}

TEST_CASE("convolution: the number of threads changes no bit") {
  const ConvolutionShape shape{
      .in_channels = 20, .out_channels = 24, .kernel_height = 3, .kernel_width = 3, .padding = 1};
  const auto weight = random_floats(20 * 24 * 9, 1), x = random_floats(2 * 33 * 9 * 20, 2);
  const PackedConvolution convolution(weight.data(), nullptr, shape, DType::f32);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 5}) {
    GuardedBuffer y(2 * 33 * 9 * 24, DType::f32);
    convolution.run({.x = x.data(),
                     .y = y.data(),
                     .batch = 2,
                     .height = 33,
                     .width = 9,
                     .y_dtype = DType::f32,
                     .activation = Activation::silu},
                    ThreadPool(threads));
    results.push_back(y.floats());
  }
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
}

TEST_CASE("convolution: a grid of one cell, and more sizes than it keeps kernels for") {
  const ConvolutionShape shape{
      .in_channels = 16, .out_channels = 8, .kernel_height = 3, .kernel_width = 3, .padding = 1};
  check({.shape = shape, .batch = 1, .height = 1, .width = 1});
  const auto weight = random_floats(16 * 8 * 9, 1);
  const PackedConvolution convolution(weight.data(), nullptr, shape, DType::f32);
  for (int round = 0; round < 2; ++round) {
    for (int width = 1; width <= 70; ++width) {
      const auto x = random_floats(product({3, width, 16}), 2);
      GuardedBuffer y(product({3, width, 8}), DType::f32);
      convolution.run({.x = x.data(),
                       .y = y.data(),
                       .batch = 1,
                       .height = 3,
                       .width = width,
                       .y_dtype = DType::f32,
                       .activation = Activation::none},
                      ThreadPool(1));
      const auto expected = reference::convolution<double>(x, weight, {}, shape, 1, 3, width, Activation::none);
      CHECK(relative_error(y.floats(), expected) < 1e-6);
    }
  }
}

TEST_CASE("convolution: one object on several threads") {
  const ConvolutionShape shape{
      .in_channels = 16, .out_channels = 8, .kernel_height = 3, .kernel_width = 3, .padding = 1};
  const auto weight = random_floats(16 * 8 * 9, 1), x = random_floats(9 * 9 * 16, 2);
  const PackedConvolution convolution(weight.data(), nullptr, shape, DType::f32);
  const auto expected = reference::convolution<double>(x, weight, {}, shape, 1, 9, 9, Activation::none);
  std::vector<double> errors(4, 1.0);
  std::vector<std::thread> threads;
  for (double& error : errors) {
    threads.emplace_back([&] {
      error = 0.0;
      for (int repeat = 0; repeat < 20; ++repeat) {
        GuardedBuffer y(9 * 9 * 8, DType::f32);
        convolution.run({.x = x.data(),
                         .y = y.data(),
                         .batch = 1,
                         .height = 9,
                         .width = 9,
                         .y_dtype = DType::f32,
                         .activation = Activation::none},
                        ThreadPool(1 + repeat % 2));
        error = std::max(error, relative_error(y.floats(), expected));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const double error : errors) CHECK(error < 1e-6);
}

TEST_CASE("convolution: refuses what it cannot do") {
  const std::vector<float> values(1024, 1.0f);
  std::vector<float> y(1024);
  const ConvolutionShape good{.in_channels = 4, .out_channels = 4, .kernel_height = 3, .kernel_width = 3};
  ConvolutionShape bad = good;
  bad.groups = 3;
  CHECK_THROWS_AS(PackedConvolution(values.data(), nullptr, bad, DType::f32), Error);
  bad = good;
  bad.stride = 0;
  CHECK_THROWS_AS(PackedConvolution(values.data(), nullptr, bad, DType::f32), Error);
  CHECK_THROWS_AS(PackedConvolution(values.data(), nullptr, good, DType::f16), Error);
  const PackedConvolution convolution(values.data(), nullptr, good, DType::f32);
  CHECK(convolution.shape().out_height(9) == 7);
  CHECK(convolution.bytes() >= 4 * 4 * 9 * 4);
  ConvolutionArgs args{.x = values.data(),
                       .y = y.data(),
                       .batch = 1,
                       .height = 2,
                       .width = 9,
                       .y_dtype = DType::f32,
                       .activation = Activation::none};
  CHECK_THROWS_AS(convolution.run(args, ThreadPool(1)), Error);
  args.height = 3;
  args.y_pixel_stride = 3;
  CHECK_THROWS_AS(convolution.run(args, ThreadPool(1)), Error);
  args.y_pixel_stride = 4;
  args.y_dtype = DType::bf16;
  CHECK_THROWS_AS(convolution.run(args, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
