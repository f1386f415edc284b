#include "kernels/yuv_to_bgr.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tests/cuda/device_buffer.h"
#include "tests/reference/yuv_to_bgr.h"
#include "tests/support/yuv_frames.h"

namespace vistazo {
namespace {

using testing::DeviceArray;
using testing::YuvFrame;

// The pixels, whose rows begin `first` bytes behind a word and have `gap` bytes between them.
std::vector<std::uint8_t> run(const YuvFrame& frame, std::size_t first, int gap) {
  YuvToBgrArgs args = frame.args;
  const DeviceArray<std::uint8_t> y(frame.y), chroma(frame.chroma);
  args.bgr_row_bytes = std::int64_t{3} * args.width + gap;
  const DeviceArray<std::uint8_t> bgr(first + static_cast<std::size_t>(args.bgr_row_bytes * args.height));
  args.y = y.data();
  args.u = chroma.data();
  args.v = args.u + 1;
  args.bgr = bgr.data() + first;
  cuda::yuv_to_bgr(args, nullptr);
  CHECK(bgr.is_guard_intact());
  const std::vector<std::uint8_t> stored = bgr.values();
  std::vector<std::uint8_t> pixels;
  for (int row = 0; row < args.height; ++row) {
    const auto begin = stored.begin() + static_cast<std::ptrdiff_t>(first) + row * args.bgr_row_bytes;
    pixels.insert(pixels.end(), begin, begin + 3 * args.width);
    CHECK(std::all_of(begin + 3 * args.width, begin + args.bgr_row_bytes, [](auto b) { return b == 0xff; }));
  }
  return pixels;
}

TEST_CASE("yuv_to_bgr") {
  for (const int width : {1, 2, 3, 4, 5, 17, 63, 64, 197, 1024, 1025}) {
    for (const int height : {1, 2, 7}) {
      for (const YuvMatrix matrix : {YuvMatrix::bt601, YuvMatrix::bt709, YuvMatrix::bt2020}) {
        for (const bool is_full_range : {false, true}) {
          CAPTURE(width);
          CAPTURE(height);
          // Rows at words, and not.
          YuvFrame frame(height, width, 2, is_full_range ? (4 - width % 4) % 4 : width % 3, 1);
          frame.args.matrix = matrix;
          frame.args.is_full_range = is_full_range;
          const std::vector<std::uint8_t> pixels = run(frame, is_full_range ? 0 : 1, is_full_range ? width % 4 : 5);
          const std::vector<double> exact = reference::yuv_to_bgr(frame.args);
          REQUIRE(pixels.size() == exact.size());
          double largest = 0;
          for (std::size_t i = 0; i < exact.size(); ++i) largest = std::max(largest, std::abs(pixels[i] - exact[i]));
          CHECK(largest <= 0.5 + 4 * 255 * 0x1p-17);  // as on the CPU
        }
      }
    }
  }
}

TEST_CASE("yuv_to_bgr: planes are refused") {
  const YuvFrame frame(4, 6, 1, 0, 1);
  CHECK_THROWS_AS(cuda::yuv_to_bgr(frame.args, nullptr), Error);
}

}  // namespace
}  // namespace vistazo
