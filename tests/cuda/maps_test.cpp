#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/add_mean.h"
#include "kernels/base/error.h"
#include "kernels/clamp.h"
#include "kernels/map_resize.h"
#include "kernels/pooling.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/add_mean.h"
#include "tests/reference/map_resize.h"
#include "tests/reference/pooling.h"
#include "tests/support/buffers.h"
#include "tests/support/strided.h"

// pooling, map_resize, add_mean, clamp and mask_rows.
namespace vistazo {
namespace {

using testing::DeviceBuffer;
using testing::gather_rows;
using testing::random_floats;
using testing::relative_error;
using testing::spread_rows;

constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16};

double rounding_of(DType dtype) {
  return dtype == DType::f32 ? 0.0 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
}

struct PoolingCase {
  PoolingWindow window;
  int batch, height, width, channels;
  int x_gap = 0, y_gap = 0;
};

void check(const PoolingCase& c, Pooling kind, DType dtype) {
  CAPTURE(c.height);
  CAPTURE(c.width);
  CAPTURE(c.channels);
  CAPTURE(std::string(name_of(dtype)));
  CAPTURE(static_cast<int>(kind));
  const auto count = static_cast<std::size_t>(c.batch * c.height * c.width * c.channels);
  // All negative: a maximum that starts at zero, or that takes padding for zeros, is wrong everywhere.
  const auto values = testing::rounded(random_floats(count, 1, -5.0f, 1.0f), dtype);
  const auto expected = reference::pooling(values, c.batch, c.height, c.width, c.channels, c.window, kind);
  const DeviceBuffer x(spread_rows(values, c.channels, c.x_gap), dtype),
      y(spread_rows(std::vector<float>(expected.size(), NAN), c.channels, c.y_gap), dtype);
  cuda::pooling({.x = x.data(),
                 .y = y.data(),
                 .batch = c.batch,
                 .height = c.height,
                 .width = c.width,
                 .channels = c.channels,
                 .window = c.window,
                 .kind = kind,
                 .x_pixel_stride = c.channels + c.x_gap,
                 .y_pixel_stride = c.channels + c.y_gap,
                 .dtype = dtype},
                nullptr);
  const auto result = gather_rows(y.floats(), c.channels, c.y_gap);
  // A maximum is one of the values. A mean of up to 9 values of one sign: 9 additions, a product, a rounded factor.
  const double tolerance = kind == Pooling::max ? 0 : 11 * 0x1p-24 + rounding_of(dtype);
  REQUIRE(result.size() == expected.size());
  bool is_near = true;
  for (std::size_t i = 0; i < result.size(); ++i) {
    is_near &= std::abs(static_cast<double>(result[i]) - expected[i]) <= tolerance * std::abs(expected[i]);
  }
  CHECK(is_near);
  CHECK(y.is_guard_intact());
}

TEST_CASE("pooling: windows, strides, edges") {
  const PoolingWindow resnet{.height = 3, .width = 3, .stride = 2, .padding = 1};
  const PoolingWindow resnet_vd{.height = 2, .width = 2, .stride = 2, .reaches_beyond = true};
  const PoolingWindow hgnet{.height = 2, .width = 2, .stride = 1, .end_zeros = 1, .reaches_beyond = true};
  const PoolingWindow wide{.height = 1, .width = 3, .stride = 1};
  const PoolingCase cases[] = {
      {resnet, 1, 1, 1, 1},    {resnet, 2, 7, 9, 17},      {resnet, 1, 8, 6, 64, 4, 8},
      {resnet_vd, 1, 1, 1, 3}, {resnet_vd, 3, 5, 7, 33},   {resnet_vd, 1, 8, 6, 16, 8},
      {hgnet, 1, 1, 1, 2},     {hgnet, 2, 6, 5, 31, 0, 9}, {wide, 2, 5, 63, 65, 1, 1},
  };
  for (const PoolingCase& c : cases) {
    for (const DType dtype : kDTypes) {
      check(c, Pooling::max, dtype);
      check(c, Pooling::average, dtype);
    }
  }
}

TEST_CASE("pooling: groups of eight channels, which many elements take") {
  const PoolingWindow window{.height = 3, .width = 3, .stride = 2, .padding = 1};
  check({window, 2, 127, 129, 64}, Pooling::max, DType::bf16);
  check({window, 2, 127, 129, 64, 8, 16}, Pooling::average, DType::f16);
  check({window, 2, 127, 129, 64, 8, 4}, Pooling::max, DType::bf16);  // not aligned to eight
}

TEST_CASE("pooling: a NaN makes the windows that hold it NaN") {
  std::vector<float> values(5 * 5 * 4, 1.0f);
  values[(2 * 5 + 2) * 4 + 1] = NAN;  // channel 1 of the cell in the middle
  for (const Pooling kind : {Pooling::max, Pooling::average}) {
    const DeviceBuffer x(values, DType::f32), y(4 * 4 * 4, DType::f32);
    cuda::pooling({x.data(), y.data(), 1, 5, 5, 4, {.height = 2, .width = 2}, kind, 4, 4, DType::f32}, nullptr);
    const auto result = y.floats();
    for (std::size_t i = 0; i < result.size(); ++i) {
      const std::size_t row = i / 16, col = i / 4 % 4;
      const bool is_poisoned = i % 4 == 1 && (row == 1 || row == 2) && (col == 1 || col == 2);
      CHECK(std::isnan(result[i]) == is_poisoned);
    }
  }
}

struct ResizeCase {
  int batch, height, width, out_height, out_width, channels;
  int x_gap = 0, y_gap = 0;
};

void check(const ResizeCase& c, MapInterpolation interpolation, DType dtype) {
  CAPTURE(c.height);
  CAPTURE(c.out_height);
  CAPTURE(c.width);
  CAPTURE(c.out_width);
  CAPTURE(std::string(name_of(dtype)));
  const auto count = static_cast<std::size_t>(c.batch * c.height * c.width * c.channels);
  const auto values = testing::rounded(random_floats(count, 1), dtype);
  const auto expected =
      reference::map_resize(values, c.batch, c.height, c.width, c.out_height, c.out_width, c.channels, interpolation);
  const DeviceBuffer x(spread_rows(values, c.channels, c.x_gap), dtype),
      y(spread_rows(std::vector<float>(expected.size(), NAN), c.channels, c.y_gap), dtype);
  cuda::map_resize({.x = x.data(),
                    .y = y.data(),
                    .batch = c.batch,
                    .height = c.height,
                    .width = c.width,
                    .out_height = c.out_height,
                    .out_width = c.out_width,
                    .channels = c.channels,
                    .interpolation = interpolation,
                    .x_pixel_stride = c.channels + c.x_gap,
                    .y_pixel_stride = c.channels + c.y_gap,
                    .dtype = dtype},
                   nullptr);
  const auto result = gather_rows(y.floats(), c.channels, c.y_gap);
  // Nearest copies. Bilinear: a position's f32 rounding, of up to the map's size in units of the last place, moves a
  // weight by as much; the values are normal, so neighbours differ by a few units.
  const double allowed = 0x1p-24 * (4.0 * std::max(c.height, c.width) + 8) + rounding_of(dtype);
  CHECK(relative_error(result, expected) <= (interpolation == MapInterpolation::nearest ? 0 : allowed));
  CHECK(y.is_guard_intact());
}

TEST_CASE("map_resize: nearest and bilinear, up, down and to the same size") {
  const ResizeCase cases[] = {
      {1, 1, 1, 2, 2, 1},  {2, 3, 5, 6, 10, 17}, {1, 5, 3, 10, 6, 64, 8, 64}, {1, 7, 9, 3, 4, 33},
      {2, 4, 4, 4, 4, 31}, {1, 3, 3, 7, 5, 16},  {1, 6, 1, 1, 5, 65, 0, 3},
  };
  for (const ResizeCase& c : cases) {
    for (const DType dtype : kDTypes) {
      check(c, MapInterpolation::nearest, dtype);
      check(c, MapInterpolation::bilinear, dtype);
    }
  }
}

TEST_CASE("map_resize: groups of eight channels, which many elements take") {
  check(ResizeCase{2, 33, 31, 66, 62, 64}, MapInterpolation::nearest, DType::bf16);
  check(ResizeCase{2, 33, 31, 67, 63, 64, 8, 16}, MapInterpolation::bilinear, DType::f16);
  check(ResizeCase{2, 33, 31, 67, 63, 64, 4, 8}, MapInterpolation::bilinear, DType::bf16);  // not aligned to eight
}

TEST_CASE("add_mean") {
  for (const int tokens : {1, 3, 100, 577}) {
    for (const int cols : {1, 17, 63, 64, 65, 197}) {
      for (const DType dtype : kDTypes) {
        CAPTURE(tokens);
        CAPTURE(cols);
        const int batch = tokens == 100 ? 3 : 2;
        const auto values =
            testing::rounded(random_floats(static_cast<std::size_t>(batch * tokens * cols), 1, 0.5f), dtype);
        const DeviceBuffer x(values, dtype), y(values.size(), dtype);
        cuda::add_mean({x.data(), y.data(), batch, tokens, cols, dtype}, nullptr);
        const auto t = static_cast<std::size_t>(tokens), c = static_cast<std::size_t>(cols);
        const auto expected = reference::add_mean<double>(values, t, c);
        const double plain = relative_error(reference::add_mean<float>(values, t, c), expected);
        CHECK(relative_error(y.floats(), expected) <= 2 * plain + 0x1p-23 + rounding_of(dtype));
        CHECK(y.is_guard_intact());
        cuda::add_mean({x.data(), x.data(), batch, tokens, cols, dtype}, nullptr);
        CHECK(x.floats() == y.floats());
      }
    }
  }
}

TEST_CASE("clamp: groups and single elements; infinities are clamped, a NaN stays") {
  for (const std::size_t count : {1, 3, 17, 64, 65, 1025, 40961}) {
    for (const DType dtype : kDTypes) {
      auto expected = testing::rounded(random_floats(count, 1, 0.0f, 10.0f), dtype);
      const DeviceBuffer x(expected, dtype);
      for (float& v : expected) v = v < -10.0f ? -10.0f : v > 8.0f ? 8.0f : v;
      cuda::clamp({x.data(), static_cast<std::int64_t>(count), -10.0f, 8.0f, dtype}, nullptr);
      CHECK(x.floats() == expected);
      CHECK(x.is_guard_intact());
    }
  }
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const DeviceBuffer x(std::vector<float>{kInfinity, -kInfinity, NAN}, DType::f32);
  cuda::clamp({x.data(), 3, -1.0f, 1.0f, DType::f32}, nullptr);
  CHECK(x.floats()[0] == 1.0f);
  CHECK(x.floats()[1] == -1.0f);
  CHECK(std::isnan(x.floats()[2]));
}

TEST_CASE("mask_rows: units of 16, 4 and 2 bytes") {
  for (const int rows : {1, 17, 400}) {
    for (const int cols : {1, 6, 65, 256}) {
      for (const DType dtype : kDTypes) {
        std::vector<float> mask(static_cast<std::size_t>(rows));
        for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = i % 3 == 1 ? 0.0f : 1.0f;
        auto values = testing::rounded(random_floats(static_cast<std::size_t>(2 * rows * cols), 1), dtype);
        if (rows > 1) values[static_cast<std::size_t>(cols)] = NAN;  // in a masked row
        const DeviceBuffer x(values, dtype), mask_buffer(mask, DType::f32);
        for (std::size_t i = 0; i < values.size(); ++i) {
          if (mask[i / static_cast<std::size_t>(cols) % mask.size()] == 0.0f) values[i] = 0.0f;
        }
        cuda::mask_rows({x.data(), static_cast<const float*>(mask_buffer.data()), 2, rows, cols, dtype}, nullptr);
        CHECK(x.floats() == values);
        CHECK(x.is_guard_intact());
      }
    }
  }
}

TEST_CASE("maps: wrong arguments are errors") {
  const PoolingArgs pooling{nullptr, nullptr, 1, 4, 4, 4, {.height = 2, .width = 2}, Pooling::max, 4, 4, DType::f32};
  const auto refused = [&](auto&& change) {
    PoolingArgs bad = pooling;
    change(bad);
    CHECK_THROWS_AS(cuda::pooling(bad, nullptr), Error);
  };
  refused([](PoolingArgs& bad) { bad.window.height = 5; });
  refused([](PoolingArgs& bad) { bad.window.padding = 2; });
  refused([](PoolingArgs& bad) { bad.x_pixel_stride = 3; });
  refused([](PoolingArgs& bad) { bad.dtype = DType::i32; });
  const MapInterpolation nearest = MapInterpolation::nearest;
  CHECK_THROWS_AS(cuda::map_resize({nullptr, nullptr, 1, 2, 2, 4, 4, 4, nearest, 4, 3, DType::f32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::map_resize({nullptr, nullptr, 1, 2, 2, 4, 0, 4, nearest, 4, 4, DType::f32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::add_mean({nullptr, nullptr, 1, 0, 1, DType::f32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::clamp({nullptr, 1, 1.0f, -1.0f, DType::f32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::mask_rows({nullptr, nullptr, 1, 0, 1, DType::f32}, nullptr), Error);
}

}  // namespace
}  // namespace vistazo
