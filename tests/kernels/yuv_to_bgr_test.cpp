#include "kernels/yuv_to_bgr.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "kernels/cpu/thread_pool.h"
#include "tests/reference/yuv_to_bgr.h"
#include "tests/support/simd_targets.h"
#include "tests/support/yuv_frames.h"

namespace vistazo {
namespace {

using testing::YuvFrame;

constexpr std::uint8_t kUntouched = 0xa5;

// The frame's pixels, in rows with `gap` bytes behind each, which must stay as they are.
std::vector<std::uint8_t> run(YuvToBgrArgs args, int gap = 0, int threads = 2) {
  const auto row = static_cast<std::size_t>(3 * args.width), stride = row + static_cast<std::size_t>(gap);
  std::vector<std::uint8_t> spread(stride * static_cast<std::size_t>(args.height) + 64, kUntouched), pixels;
  args.bgr = spread.data();
  args.bgr_row_bytes = static_cast<std::int64_t>(stride);
  cpu::yuv_to_bgr(args, ThreadPool(threads));
  bool is_gap_intact = true;
  for (std::size_t i = 0; i < spread.size(); ++i) {
    if (i / stride < static_cast<std::size_t>(args.height) && i % stride < row) {
      pixels.push_back(spread[i]);
    } else {
      is_gap_intact = is_gap_intact && spread[i] == kUntouched;
    }
  }
  CHECK(is_gap_intact);
  return pixels;
}

// Half a level of rounding, and four weights of 2^-17 each times at most 255.
constexpr double kTolerance = 0.5 + 4 * 255 * 0x1p-17;

double largest_error(const std::vector<std::uint8_t>& pixels, const std::vector<double>& exact) {
  REQUIRE(pixels.size() == exact.size());
  double largest = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) largest = std::max(largest, std::abs(pixels[i] - exact[i]));
  return largest;
}

TEST_CASE("yuv_to_bgr") {
  testing::for_each_simd_target([] {
    for (const int width : {1, 2, 3, 17, 31, 32, 33, 63, 64, 65, 197, 577, 1025}) {
      for (const int height : {1, 2, 7}) {
        for (const int step : {1, 2}) {
          YuvFrame frame(height, width, step, width % 5, 1);
          for (const YuvMatrix matrix : {YuvMatrix::bt601, YuvMatrix::bt709, YuvMatrix::bt2020}) {
            for (const bool is_full_range : {false, true}) {
              CAPTURE(width);
              CAPTURE(step);
              CAPTURE(static_cast<int>(matrix));
              frame.args.matrix = matrix;
              frame.args.is_full_range = is_full_range;
              CHECK(largest_error(run(frame.args, 5), reference::yuv_to_bgr(frame.args)) <= kTolerance);
            }
          }
        }
      }
    }
  });
}

TEST_CASE("yuv_to_bgr: every combination of samples") {
  // Rows of all 256 lumas; a pair of rows has one chroma.
  std::vector<std::uint8_t> y(512), chroma(256);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<std::uint8_t>(i % 256);
  YuvToBgrArgs args{};
  args.y = y.data();
  args.u = chroma.data();
  args.v = chroma.data() + 128;
  args.y_row_bytes = 256;
  args.chroma_row_bytes = 128;
  args.chroma_step = 1;
  args.height = 2;
  args.width = 256;
  double largest = 0;
  for (int u = 0; u < 256; u += 15) {
    for (int v = 0; v < 256; v += 15) {
      std::fill_n(chroma.begin(), 128, static_cast<std::uint8_t>(u));
      std::fill_n(chroma.begin() + 128, 128, static_cast<std::uint8_t>(v));
      largest = std::max(largest, largest_error(run(args, 0, 1), reference::yuv_to_bgr(args)));
    }
  }
  CHECK(largest <= kTolerance);
}

TEST_CASE("yuv_to_bgr: black, white and grey are what they are called") {
  const auto grey = [](std::uint8_t luma, bool is_full_range) {
    const std::vector<std::uint8_t> y(64 * 4, luma), chroma(64 * 2, 128);
    YuvToBgrArgs args{};
    args.y = y.data();
    args.u = chroma.data();
    args.v = args.u + 1;
    args.y_row_bytes = args.chroma_row_bytes = 64;
    args.chroma_step = 2;
    args.height = 4;
    args.width = 64;
    args.matrix = YuvMatrix::bt709;
    args.is_full_range = is_full_range;
    const std::vector<std::uint8_t> pixels = run(args);
    CHECK(std::ranges::count(pixels, pixels[0]) == static_cast<std::ptrdiff_t>(pixels.size()));
    return pixels[0];
  };
  CHECK(grey(16, false) == 0);
  CHECK(grey(235, false) == 255);
  CHECK(grey(126, false) == 128);
  CHECK(grey(0, false) == 0);
  CHECK(grey(255, false) == 255);
  CHECK(grey(0, true) == 0);
  CHECK(grey(77, true) == 77);
  CHECK(grey(255, true) == 255);
}

TEST_CASE("yuv_to_bgr: wrong arguments are errors") {
  const YuvFrame frame(4, 6, 2, 0, 1);
  std::vector<std::uint8_t> bgr(4 * 18);
  const auto throws = [&](auto change) {
    YuvToBgrArgs args = frame.args;
    args.bgr = bgr.data();
    change(args);
    CHECK_THROWS_AS(cpu::yuv_to_bgr(args, ThreadPool(1)), Error);
  };
  throws([](auto& a) { a.width = 0; });
  throws([](auto& a) { a.height = -1; });
  throws([](auto& a) { a.chroma_step = 3; });
  throws([](auto& a) { a.y_row_bytes = 5; });
  throws([](auto& a) { a.chroma_row_bytes = 5; });
  throws([](auto& a) { a.bgr_row_bytes = 17; });
  throws([](auto& a) { a.v = a.u; });
}

}  // namespace
}  // namespace vistazo
