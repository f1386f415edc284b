#include "kernels/pooling.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/pooling.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using testing::gather_rows;
using testing::GuardedBuffer;
using testing::spread_rows;

struct Case {
  PoolingWindow window;
  int batch, height, width, channels;
  int x_gap = 0, y_gap = 0;
};

void check(const Case& c, Pooling kind, DType dtype) {
  CAPTURE(c.height);
  CAPTURE(c.width);
  CAPTURE(c.channels);
  CAPTURE(std::string(name_of(dtype)));
  CAPTURE(static_cast<int>(kind));
  const auto count = static_cast<std::size_t>(c.batch * c.height * c.width * c.channels);
  // All negative: a maximum that starts at zero, or that takes padding for zeros, is wrong everywhere.
  const auto values = GuardedBuffer(testing::random_floats(count, 1, -5.0f, 1.0f), dtype).floats();
  const auto expected = reference::pooling(values, c.batch, c.height, c.width, c.channels, c.window, kind);
  GuardedBuffer x(spread_rows(values, c.channels, c.x_gap), dtype);
  GuardedBuffer y(spread_rows(std::vector<float>(expected.size(), NAN), c.channels, c.y_gap), dtype);
  cpu::pooling({.x = x.data(),
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
               ThreadPool(2));
  const auto result = gather_rows(y.floats(), c.channels, c.y_gap);
  // A maximum is one of the values. A mean of up to 9 values of one sign: 9 additions, a product, a rounded factor.
  const double tolerance = kind == Pooling::max ? 0 : 11 * 0x1p-24 + (dtype == DType::bf16 ? 0x1p-8 : 0);
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
  const Case cases[] = {
      {resnet, 1, 1, 1, 1},    {resnet, 2, 7, 9, 17},      {resnet, 1, 8, 6, 64, 3, 5},
      {resnet_vd, 1, 1, 1, 3}, {resnet_vd, 3, 5, 7, 33},   {resnet_vd, 1, 8, 6, 16, 8},
      {hgnet, 1, 1, 1, 2},     {hgnet, 2, 6, 5, 31, 0, 9}, {wide, 2, 5, 63, 65, 1, 1},
  };
  testing::for_each_simd_target([&] {
    for (const Case& c : cases) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        check(c, Pooling::max, dtype);
        check(c, Pooling::average, dtype);
      }
    }
  });
}

TEST_CASE("pooling: the size of the result is PyTorch's") {
  PoolingWindow w{.height = 2, .width = 2, .stride = 2};
  CHECK(w.out_height(7) == 3);
  w.reaches_beyond = true;
  CHECK(w.out_height(7) == 4);
  CHECK(w.out_height(8) == 4);
  CHECK(w.out_height(1) == 1);
  const PoolingWindow padded{.height = 3, .width = 3, .stride = 3, .padding = 1, .reaches_beyond = true};
  CHECK(padded.out_height(5) == 2);  // a third window would begin in the padding
  CHECK(PoolingWindow{.height = 3, .width = 3}.out_height(2) == 0);
}

TEST_CASE("pooling: refuses what it cannot do") {
  std::vector<float> x(64), y(64);
  PoolingArgs args{.x = x.data(),
                   .y = y.data(),
                   .batch = 1,
                   .height = 4,
                   .width = 4,
                   .channels = 4,
                   .window = {.height = 2, .width = 2},
                   .kind = Pooling::max,
                   .x_pixel_stride = 4,
                   .y_pixel_stride = 4,
                   .dtype = DType::f32};
  cpu::pooling(args, ThreadPool(1));
  const auto refused = [&](auto&& change) {
    PoolingArgs bad = args;
    change(bad);
    CHECK_THROWS_AS(cpu::pooling(bad, ThreadPool(1)), Error);
  };
  refused([](PoolingArgs& bad) { bad.window.height = 5; });
  refused([](PoolingArgs& bad) { bad.window.padding = 2; });
  refused([](PoolingArgs& bad) { bad.window.stride = 0; });
  refused([](PoolingArgs& bad) { bad.x_pixel_stride = 3; });
  refused([](PoolingArgs& bad) { bad.dtype = DType::i32; });
}

}  // namespace
}  // namespace vistazo
