#include "kernels/cuda/convolution.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "tests/cuda/device_buffer.h"
#include "tests/cuda/gemm_paths.h"
#include "tests/reference/convolution.h"
#include "tests/support/buffers.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using cuda::PackedConvolution;
using testing::DeviceBuffer;
using testing::random_floats;

struct Case {
  ConvolutionShape shape;
  int batch, height, width;
  DType dtype = DType::f32, y_dtype = DType::f32;
  Activation activation = Activation::none;
  bool has_bias = true;
  int x_gap = 0, y_gap = 0;  // elements between pixels
  bool accumulate = false;
  float post_scale = 1, post_bias = 0;
  bool is_planar = false;
};

// (batch, pixels, channels) to (batch, channels, pixels).
std::vector<float> planes_of(const std::vector<float>& x, std::size_t batch, std::size_t channels) {
  const std::size_t pixels = x.size() / batch / channels;
  std::vector<float> planes(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t image = i / channels / pixels, pixel = i / channels % pixels;
    planes[(image * channels + i % channels) * pixels + pixel] = x[i];
  }
  return planes;
}

template <typename Real>
std::vector<Real> reference_of(const Case& c, const std::vector<float>& x, const std::vector<float>& weight,
                               const std::vector<float>& bias, const std::vector<float>& start) {
  auto y = reference::convolution<Real>(x, weight, bias, c.shape, c.batch, c.height, c.width, Activation::none);
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (c.accumulate) y[i] += start[i];
    y[i] = reference::activate(y[i], c.activation) * static_cast<Real>(c.post_scale) + static_cast<Real>(c.post_bias);
  }
  return y;
}

// Returns whether it ran.
bool check(const Case& c, const testing::GemmContext& context) {
  static unsigned seed = 1;
  const ConvolutionShape& s = c.shape;
  const auto count = [](std::initializer_list<int> factors) {
    std::size_t result = 1;
    for (const int factor : factors) result *= static_cast<std::size_t>(factor);
    return result;
  };
  const int depth = s.in_channels / s.groups * s.kernel_height * s.kernel_width;
  const auto x = testing::rounded(random_floats(count({c.batch, c.height, c.width, s.in_channels}), seed++), c.dtype);
  const auto weight =
      random_floats(count({s.out_channels, depth}), seed++, 0.0f, 1.0f / std::sqrt(static_cast<float>(depth)));
  const auto bias = c.has_bias ? random_floats(count({s.out_channels}), seed++) : std::vector<float>();
  const std::size_t outputs = count({c.batch, s.out_height(c.height), s.out_width(c.width), s.out_channels});
  const auto start = testing::rounded(random_floats(outputs, seed++), c.y_dtype);
  const auto weight_rounded = testing::rounded(weight, c.dtype);
  const auto expected = reference_of<double>(c, x, weight_rounded, bias, start);
  const auto plain = reference_of<float>(c, x, weight_rounded, bias, start);

  const PackedConvolution convolution(weight.data(), c.has_bias ? bias.data() : nullptr, s, c.dtype);
  const auto before = c.accumulate ? start : std::vector<float>(outputs, NAN);
  const auto pixels = c.is_planar
                          ? planes_of(x, static_cast<std::size_t>(c.batch), static_cast<std::size_t>(s.in_channels))
                          : testing::spread_rows(x, s.in_channels, c.x_gap);
  const DeviceBuffer x_buffer(pixels, c.is_planar ? DType::f32 : c.dtype),
      y_buffer(testing::spread_rows(before, s.out_channels, c.y_gap), c.y_dtype);
  const ConvolutionArgs args{.x = x_buffer.data(),
                             .y = y_buffer.data(),
                             .batch = c.batch,
                             .height = c.height,
                             .width = c.width,
                             .y_dtype = c.y_dtype,
                             .activation = c.activation,
                             .x_pixel_stride = s.in_channels + c.x_gap,
                             .y_pixel_stride = s.out_channels + c.y_gap,
                             .accumulate = c.accumulate,
                             .post_scale = c.post_scale,
                             .post_bias = c.post_bias,
                             .is_x_planar = c.is_planar};
  if (!testing::runs(context, [&] { convolution.run(args, context); })) return false;
  CAPTURE(s.in_channels);
  CAPTURE(s.out_channels);
  CAPTURE(s.kernel_height);
  CAPTURE(s.stride);
  CAPTURE(s.padding);
  CAPTURE(s.end_padding);
  CAPTURE(s.groups);
  CAPTURE(c.batch);
  CAPTURE(c.height);
  CAPTURE(c.width);
  CAPTURE(std::string(name_of(c.dtype)));
  CAPTURE(std::string(name_of(c.y_dtype)));
  CAPTURE(static_cast<int>(c.activation));
  CAPTURE(static_cast<int>(context.path));
  CAPTURE(context.tile);
  CHECK(testing::max_difference(testing::gather_rows(y_buffer.floats(), s.out_channels, c.y_gap), expected) <=
        testing::gemm_tolerance(plain, expected, c.y_dtype,
                                c.accumulate && testing::begins_with_y(context, c.dtype)
                                    ? std::int64_t{s.in_channels / s.groups} * s.kernel_height * s.kernel_width
                                    : 0,
                                c.activation));
  CHECK(y_buffer.is_guard_intact());
  return true;
}

TEST_CASE("convolution: kernels, strides and padding") {
  testing::for_each_gemm_path([](const testing::GemmContext& context, DType dtype) {
    check({{16, 24, 3, 3, 1, 1}, 2, 9, 13, dtype, dtype}, context);
    check({{72, 40, 3, 3, 2, 1}, 3, 11, 7, dtype, dtype}, context);
    check({{8, 16, 5, 3, 1, 2}, 1, 9, 7, dtype, dtype}, context);
    check({{3, 32, 3, 3, 2, 1}, 2, 17, 19, dtype, dtype}, context);
    check({{3, 20, 16, 16, 16, 0}, 1, 48, 33, dtype, dtype}, context);
    check({{3, 40, 7, 7, 2, 3}, 2, 17, 19, dtype, dtype}, context);
    check({{4, 64, 3, 5, 1, 1}, 1, 9, 11, dtype, DType::f32}, context);
    check({{2, 7, 3, 3, 1, 1}, 1, 9, 11, dtype, dtype, Activation::silu}, context);
    check({{24, 91, 1, 1, 1, 0}, 2, 9, 13, dtype, dtype}, context);
    check({{24, 64, 1, 1, 2, 0}, 2, 9, 13, dtype, dtype}, context);
    check({{32, 17, 2, 2, 1, 0, 1, 1}, 2, 9, 13, dtype, dtype}, context);
    check({{16, 8, 3, 3, 2, 1, 1, 1}, 1, 10, 8, dtype, dtype}, context);
    check({{16, 8, 3, 3, 1, 1}, 2, 1, 1, dtype, dtype}, context);
    check({{256, 256, 3, 3, 1, 1}, 1, 5, 5, dtype, dtype}, context);
    check({{64, 128, 3, 3, 1, 1}, 2, 20, 20, dtype, dtype}, context);
  });
}

TEST_CASE("convolution: every tile shape of sm90") {
  testing::for_each_sm90_tile([](const testing::GemmContext& context, DType dtype) {
    check({{72, 136, 3, 3, 1, 1}, 2, 9, 13, dtype, dtype, Activation::silu}, context);
    check({{8, 200, 5, 3, 2, 2}, 2, 17, 19, dtype, DType::f32, Activation::relu, true, 8, 4, true, 2, 1}, context);
    check({{128, 64, 3, 3, 2, 1, 1, 1}, 3, 10, 8, dtype, dtype}, context);
    check({{128, 256, 3, 3, 1, 1, 2}, 1, 11, 7, dtype, dtype}, context);
    check({{24, 91, 1, 1, 2, 0}, 2, 9, 13, dtype, dtype}, context);
    check({{32, 40, 2, 2, 1, 0, 1, 1}, 2, 9, 13, dtype, dtype}, context);
    check({{64, 64, 3, 3, 1, 1}, 2, 1, 1, dtype, dtype}, context);
    check({{32, 64, 3, 3, 1, 1}, 2, 9, 17, dtype, dtype, Activation::relu}, context);
    check({{32, 24, 3, 3, 2, 1}, 1, 9, 17, dtype, DType::f32, Activation::gelu}, context);
    // What the persistent kernel takes, whether it keeps the weight or not.
    const Case sum{{24, 96, 2, 2, 2, 1}, 3, 21, 17, dtype, dtype, Activation::relu, true, 8, 16, true, 2, 1};
    CHECK(check(sum, context));
    CHECK(check({{64, 64, 2, 1, 1, 1}, 1, 21, 13, dtype, dtype, Activation::relu}, context));
    CHECK(check({{128, 192, 2, 1, 1, 0, 2}, 2, 9, 11, dtype, DType::f32, Activation::silu}, context));
  });
}

TEST_CASE("convolution: planes") {
  const auto check_planes = [](Case c) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      c.y_dtype = c.dtype == c.y_dtype ? dtype : DType::f32;
      c.dtype = dtype;
      c.is_planar = true;
      check(c, {});
    }
  };
  const DType f16 = DType::f16;
  CHECK(cuda::reads_planes({3, 32, 3, 3, 2, 1}));
  CHECK(!cuda::reads_planes({5, 32, 3, 3, 2, 1}));
  check_planes({{3, 32, 3, 3, 2, 1}, 2, 17, 19, f16, f16, Activation::relu});
  check_planes({{3, 16, 3, 3, 2, 1}, 1, 66, 136, f16, f16, Activation::silu});  // groups of four pixels
  check_planes({{3, 48, 3, 3, 2, 1}, 2, 20, 64, f16, f16});
  check_planes({{3, 64, 3, 3, 1, 1}, 1, 1, 1, f16, f16});
  check_planes({{3, 21, 3, 3, 2, 1}, 1, 9, 65, f16, f16});
  check_planes({{3, 32, 2, 2, 2, 0, 1, 1}, 1, 8, 36, f16, f16});
  check_planes({{4, 32, 1, 2, 1, 2}, 1, 7, 40, f16, DType::f32, Activation::gelu, false});
  check_planes({{1, 40, 5, 5, 3, 2}, 2, 11, 52, f16, DType::f32, Activation::relu, true, 0, 8, true, 1.5f, -0.25f});
  check_planes({{2, 24, 4, 4, 4, 0}, 1, 12, 128, f16, f16, Activation::none, true, 0, 3, true});
  check_planes({{3, 40, 7, 7, 2, 3}, 2, 17, 19, f16, f16, Activation::relu});    // too many products for tensor cores
  check_planes({{1, 8, 2, 2, 2, 0}, 2, 519, 1030, f16, f16, Activation::relu});  // as many tiles as take larger ones
  const std::vector<float> weight(32 * 5 * 9, 1.0f);
  const PackedConvolution convolution(weight.data(), nullptr, {5, 32, 3, 3, 2, 1}, DType::f16);
  const DeviceBuffer x(5 * 9, DType::f32), y(4 * 32, DType::f16);
  CHECK_THROWS_AS(convolution.run({.x = x.data(),
                                   .y = y.data(),
                                   .batch = 1,
                                   .height = 3,
                                   .width = 3,
                                   .y_dtype = DType::f16,
                                   .activation = Activation::none,
                                   .is_x_planar = true},
                                  {}),
                  Error);
}

TEST_CASE("convolution: shallow, sizes and channels") {
  testing::for_each_shallow_variant([](const testing::GemmContext& context, DType dtype) {
    for (const int channels : {8, 16, 24, 32, 48, 64}) {
      for (const int stride : {1, 2}) {
        check({{channels, 64, 3, 3, stride, 1}, 1, 9, 17, dtype, dtype, Activation::relu}, context);
        check({{channels, 32, 3, 3, stride, 1}, 2, 1, 1, dtype, dtype}, context);
      }
    }
    for (const int width : {1, 17, 63, 65}) {
      check({{16, 24, 3, 3, 1, 1}, 2, 3, width, dtype, dtype}, context);
      check({{32, 64, 3, 3, 2, 1}, 3, 5, width, dtype, dtype}, context);
      check({{64, 40, 3, 3, 1, 1}, 1, width, 3, dtype, dtype}, context);
    }
    check({{64, 64, 3, 3, 1, 1}, 3, 67, 33, dtype, dtype}, context);  // several tiles for each group of warps
    check({{32, 32, 3, 3, 2, 1}, 3, 67, 97, dtype, dtype}, context);
    check({{8, 7, 3, 3, 1, 0}, 1, 5, 18, dtype, dtype}, context);
    check({{16, 33, 3, 3, 1, 2, 1, 1}, 2, 9, 8, dtype, dtype}, context);
    check({{24, 136, 3, 3, 2, 0, 1, 1}, 2, 9, 18, dtype, dtype}, context);  // several blocks for a pixel
  });
}

TEST_CASE("convolution: shallow, what follows the sums and slices of channels") {
  testing::for_each_shallow_variant([](const testing::GemmContext& context, DType dtype) {
    for (const DType y_dtype : {DType::f32, dtype}) {
      for (const auto activation : {Activation::none, Activation::relu, Activation::silu, Activation::gelu}) {
        check({{24, 64, 3, 3, 1, 1}, 1, 9, 13, dtype, y_dtype, activation, false, 8, 16, true, 1.5f, -0.25f}, context);
        check({{32, 40, 3, 3, 2, 1}, 1, 9, 33, dtype, y_dtype, activation, true, 16, 3, true, 0.5f, 1}, context);
      }
      check({{48, 32, 3, 3, 1, 1}, 1, 9, 13, dtype, y_dtype, Activation::silu, true, 8, 0, false, 2, 1}, context);
      check({{64, 21, 3, 3, 1, 1}, 2, 9, 13, dtype, y_dtype, Activation::none, true, 0, 8, true}, context);
    }
  });
}

TEST_CASE("convolution: shallow, what it cannot do") {
  const std::vector<float> weight(64 * 72 * 9, 1.0f);
  const DeviceBuffer x(72 * 9, DType::f16), y(64 * 9, DType::f16);
  const auto run = [&](const ConvolutionShape& shape, int x_gap) {
    const PackedConvolution convolution(weight.data(), nullptr, shape, DType::f16);
    const ConvolutionArgs args{.x = x.data(),
                               .y = y.data(),
                               .batch = 1,
                               .height = 3,
                               .width = 3,
                               .y_dtype = DType::f16,
                               .activation = Activation::none,
                               .x_pixel_stride = shape.in_channels + x_gap};
    convolution.run(args, {.path = cuda::GemmPath::shallow});
  };
  CHECK_THROWS_AS(run({72, 64, 3, 3, 1, 1}, 0), Error);
  CHECK_THROWS_AS(run({12, 64, 3, 3, 1, 1}, 0), Error);
  CHECK_THROWS_AS(run({16, 64, 3, 3, 1, 1}, 1), Error);
  CHECK_THROWS_AS(run({16, 64, 3, 3, 1, 1, 2}, 0), Error);
  CHECK_THROWS_AS(run({16, 64, 3, 3, 3, 1}, 0), Error);
  CHECK_THROWS_AS(run({16, 64, 1, 3, 1, 1}, 0), Error);
}

TEST_CASE("convolution: groups") {
  testing::for_each_gemm_path([](const testing::GemmContext& context, DType dtype) {
    check({{32, 48, 3, 3, 1, 1, 2}, 2, 9, 7, dtype, dtype, Activation::silu}, context);
    check({{12, 24, 3, 3, 1, 1, 4}, 2, 9, 7, dtype, dtype}, context);
    check({{72, 72, 3, 3, 1, 1, 72}, 2, 9, 13, dtype, dtype, Activation::relu}, context);
    check({{64, 64, 5, 5, 2, 2, 64}, 2, 9, 13, dtype, dtype}, context);
    check({{48, 48, 3, 3, 1, 1, 48}, 1, 10, 17, dtype, DType::f32, Activation::gelu, true, 8, 8, true}, context);
    check({{48, 48, 3, 3, 1, 1, 48}, 1, 10, 17, dtype, dtype, Activation::none, true, 3, 5}, context);
    check({{7, 7, 3, 3, 1, 1, 7}, 1, 9, 13, dtype, dtype}, context);
    check({{8, 16, 3, 3, 1, 1, 8}, 1, 9, 13, dtype, dtype}, context);
  });
}

TEST_CASE("convolution: what follows the sums, and slices of channels") {
  testing::for_each_gemm_path([](const testing::GemmContext& context, DType dtype) {
    for (const DType y_dtype : {DType::f32, dtype}) {
      for (const auto activation : {Activation::none, Activation::relu, Activation::silu, Activation::gelu}) {
        check({{24, 64, 3, 3, 1, 1}, 1, 9, 13, dtype, y_dtype, activation, false, 8, 16, true, 1.5f, -0.25f}, context);
        check({{24, 40, 3, 3, 1, 1, 40 / 5}, 1, 9, 13, dtype, y_dtype, activation, true, 8, 8, true}, context);
      }
      check({{48, 48, 3, 3, 1, 1, 48}, 1, 9, 13, dtype, y_dtype, Activation::silu, true, 16, 8, true, 2, 1}, context);
      check({{24, 33, 1, 1, 1, 0}, 1, 9, 13, dtype, y_dtype, Activation::relu, true, 3, 1, true, 0.5f, 1}, context);
      check({{24, 32, 3, 3, 2, 1}, 1, 9, 13, dtype, y_dtype, Activation::silu, true, 5, 2}, context);
    }
  });
}

TEST_CASE("convolution: no images, and what it cannot do") {
  const std::vector<float> weight(8 * 8 * 9, 1.0f);
  const PackedConvolution convolution(weight.data(), nullptr, {8, 8, 3, 3}, DType::f16);
  CHECK(convolution.shape().out_channels == 8);
  CHECK(convolution.bytes() == 2 * weight.size());
  const DeviceBuffer x(8 * 9, DType::f16), y(8, DType::f32);
  ConvolutionArgs args{x.data(), y.data(), 0, 3, 3, DType::f32, Activation::none};
  convolution.run(args, {});
  CHECK(std::isnan(y.floats()[0]));
  args.batch = 1;
  args.height = 2;
  CHECK_THROWS_AS(convolution.run(args, {}), Error);
  args.height = 3;
  args.y_dtype = DType::bf16;
  CHECK_THROWS_AS(convolution.run(args, {}), Error);
  args.y_dtype = DType::f16;
  args.x_pixel_stride = 7;
  CHECK_THROWS_AS(convolution.run(args, {}), Error);
  CHECK_THROWS_AS(PackedConvolution(weight.data(), nullptr, {8, 9, 3, 3, 1, 1, 2}, DType::f16), Error);
  CHECK_THROWS_AS(PackedConvolution(weight.data(), nullptr, {8, 8, 0, 3}, DType::f16), Error);
  CHECK_THROWS_AS(PackedConvolution(weight.data(), nullptr, {8, 8, 3, 3}, DType::u8), Error);
}

}  // namespace
}  // namespace vistazo
