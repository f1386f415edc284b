#include "kernels/map_resize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/map_resize.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using testing::gather_rows;
using testing::GuardedBuffer;
using testing::spread_rows;

struct Case {
  int batch, height, width, out_height, out_width, channels;
  int x_gap = 0, y_gap = 0;
};

void check(const Case& c, MapInterpolation interpolation, DType dtype) {
  CAPTURE(c.height);
  CAPTURE(c.out_height);
  CAPTURE(c.width);
  CAPTURE(c.out_width);
  CAPTURE(std::string(name_of(dtype)));
  const auto count = static_cast<std::size_t>(c.batch * c.height * c.width * c.channels);
  const auto values = GuardedBuffer(testing::random_floats(count, 1), dtype).floats();
  const auto expected =
      reference::map_resize(values, c.batch, c.height, c.width, c.out_height, c.out_width, c.channels, interpolation);
  GuardedBuffer x(spread_rows(values, c.channels, c.x_gap), dtype);
  GuardedBuffer y(spread_rows(std::vector<float>(expected.size(), NAN), c.channels, c.y_gap), dtype);
  cpu::map_resize({.x = x.data(),
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
                  ThreadPool(2));
  const auto result = gather_rows(y.floats(), c.channels, c.y_gap);
  // Nearest copies. Bilinear: a position's f32 rounding, of up to the map's size in units of the last place, moves a
  // weight by as much; the values are normal, so neighbours differ by a few units.
  const double rounding = 0x1p-24 * (4.0 * std::max(c.height, c.width) + 8) + (dtype == DType::bf16 ? 0x1p-8 : 0);
  CHECK(testing::relative_error(result, expected) <= (interpolation == MapInterpolation::nearest ? 0 : rounding));
  CHECK(y.is_guard_intact());
}

TEST_CASE("map_resize: nearest and bilinear, up, down and to the same size") {
  const Case cases[] = {
      {1, 1, 1, 2, 2, 1},  {2, 3, 5, 6, 10, 17}, {1, 5, 3, 10, 6, 64, 8, 64}, {1, 7, 9, 3, 4, 33},
      {2, 4, 4, 4, 4, 31}, {1, 3, 3, 7, 5, 16},  {1, 6, 1, 1, 5, 65, 0, 3},
  };
  testing::for_each_simd_target([&] {
    for (const Case& c : cases) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        check(c, MapInterpolation::nearest, dtype);
        check(c, MapInterpolation::bilinear, dtype);
      }
    }
  });
}

TEST_CASE("map_resize: refuses what it cannot do") {
  std::vector<float> x(16), y(64);
  MapResizeArgs args{.x = x.data(),
                     .y = y.data(),
                     .batch = 1,
                     .height = 2,
                     .width = 2,
                     .out_height = 4,
                     .out_width = 4,
                     .channels = 4,
                     .interpolation = MapInterpolation::nearest,
                     .x_pixel_stride = 4,
                     .y_pixel_stride = 4,
                     .dtype = DType::f32};
  cpu::map_resize(args, ThreadPool(1));
  args.y_pixel_stride = 3;
  CHECK_THROWS_AS(cpu::map_resize(args, ThreadPool(1)), Error);
  args.y_pixel_stride = 4;
  args.out_width = 0;
  CHECK_THROWS_AS(cpu::map_resize(args, ThreadPool(1)), Error);
  args.out_width = 4;
  args.dtype = DType::i32;
  CHECK_THROWS_AS(cpu::map_resize(args, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
