#include "kernels/image_resize.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/base/error.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/image_resize.h"

namespace vistazo {
namespace {

using reference::Bytes;
using testing::DeviceArray;
using testing::DeviceBuffer;

Bytes random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  Bytes bytes(count);
  for (auto& b : bytes) b = static_cast<std::uint8_t>(generator() >> 8);
  return bytes;
}

// Runs the kernel on `stored`, whose first row of the image starts at byte `first`.
std::vector<float> run(ImageResizeArgs args, const Bytes& stored, std::size_t first = 0) {
  const DeviceArray<std::uint8_t> pixels(stored);
  const DeviceBuffer y(std::size_t(3) * args.canvas_height * args.canvas_width, DType::f32);
  const DeviceArray<std::byte> scratch(cuda::image_resize_scratch_bytes(args));
  args.pixels = pixels.data() + first;
  args.y = static_cast<float*>(y.data());
  args.scratch = scratch.data();
  cuda::image_resize(args, nullptr);
  CHECK(y.is_guard_intact());
  CHECK(scratch.is_guard_intact());
  return y.floats();
}

// The whole canvas, values as they are.
ImageResizeArgs plain_args(int height, int width, int channels, int out_height, int out_width, bool antialias) {
  ImageResizeArgs args{};
  args.height = height;
  args.width = width;
  args.row_bytes = std::int64_t{width} * channels;
  args.order = channels == 3 ? PixelOrder::rgb : PixelOrder::gray;
  args.canvas_height = args.out_height = out_height;
  args.canvas_width = args.out_width = out_width;
  args.rescale = 1.0f;
  std::fill_n(args.std, 3, 1.0f);
  args.antialias = antialias;
  args.rounding = true;
  return args;
}

// Value of plane `channel` at `pixel` in an interleaved image.
template <typename T>
double at(const std::vector<T>& interleaved, int channels, std::size_t pixel, int channel) {
  return interleaved[pixel * static_cast<std::size_t>(channels) +
                     static_cast<std::size_t>(channels == 3 ? channel : 0)];
}

template <typename T>
double largest_difference(const std::vector<float>& planes, const std::vector<T>& interleaved, int channels) {
  const std::size_t area = planes.size() / 3;
  double largest = 0.0;
  for (std::size_t i = 0; i < planes.size(); ++i) {
    const double difference = std::abs(planes[i] - at(interleaved, channels, i % area, static_cast<int>(i / area)));
    largest = std::isfinite(difference) ? std::max(largest, difference) : HUGE_VAL;
  }
  return largest;
}

struct Sizes {
  int height, width, out_height, out_width;
};

// Enlarging and shrinking, sides of 1, either side of a tile (32 x 8) and of a chunk of input rows (16 and 32).
const Sizes kSizes[] = {{1, 1, 1, 1},     {1, 1, 7, 5},     {5, 3, 30, 30},   {17, 63, 1, 1},   {37, 53, 40, 56},
                        {65, 21, 17, 20}, {65, 22, 17, 20}, {9, 23, 9, 11},   {64, 64, 32, 32}, {63, 65, 33, 17},
                        {31, 197, 4, 33}, {3, 577, 5, 65},  {13, 300, 13, 7}, {20, 60, 33, 25}, {7, 128, 7, 128},
                        {41, 30, 41, 60}, {2, 1025, 3, 1},  {6, 1025, 2, 2},  {150, 8, 3, 300}, {90, 90, 14, 11},
                        {333, 40, 31, 31}};

TEST_CASE("image_resize equals the plain loop, bit for bit") {
  for (const Sizes& s : kSizes) {
    for (const int channels : {3, 1}) {
      for (const bool antialias : {true, false}) {
        CAPTURE(s.height);
        CAPTURE(s.width);
        CAPTURE(s.out_width);
        CAPTURE(channels);
        CAPTURE(antialias);
        const Bytes pixels = random_bytes(std::size_t(s.height) * s.width * channels, 1);
        const auto y = run(plain_args(s.height, s.width, channels, s.out_height, s.out_width, antialias), pixels);
        const Bytes expected =
            reference::image_resize(pixels, s.height, s.width, channels, s.out_height, s.out_width, antialias);
        CHECK(largest_difference(y, expected, channels) == 0);
      }
    }
  }
}

TEST_CASE("image_resize without rounding is near the exact value") {
  for (const Sizes& s : kSizes) {
    for (const int channels : {3, 1}) {
      for (const bool antialias : {true, false}) {
        CAPTURE(s.width);
        CAPTURE(s.out_width);
        CAPTURE(antialias);
        const Bytes pixels = random_bytes(std::size_t(s.height) * s.width * channels, 2);
        ImageResizeArgs args = plain_args(s.height, s.width, channels, s.out_height, s.out_width, antialias);
        args.rounding = false;
        const auto exact =
            reference::image_resize_exact(pixels, s.height, s.width, channels, s.out_height, s.out_width, antialias);
        // Weights are off by 2^-23 each and sums are f32: some 1e-7 a tap of values up to 255.
        const double allowed = 1e-4 + 255 * 3e-7 * (s.height / s.out_height + s.width / s.out_width);
        CHECK(largest_difference(run(args, pixels), exact, channels) <= allowed);
      }
    }
  }
}

TEST_CASE("image_resize: any row stride and alignment, BGR, letterbox with padding, rescale, mean and std") {
  const int height = 45, width = 77, out_height = 21, out_width = 39;
  const Bytes dense = random_bytes(std::size_t(height) * width * 3, 4);
  const Bytes resized = reference::image_resize(dense, height, width, 3, out_height, out_width, true);
  for (const bool is_flipped : {false, true}) {
    for (const PixelOrder order : {PixelOrder::rgb, PixelOrder::bgr}) {
      for (const std::size_t first : {0u, 1u, 2u, 3u}) {
        const std::size_t stride = width * 3 + 11;
        Bytes stored(first + stride * (height - 1) + width * 3, 0xEE);
        for (int i = 0; i < height; ++i) {
          const int row = is_flipped ? height - 1 - i : i;
          std::copy_n(dense.begin() + i * width * 3, width * 3,
                      stored.begin() + static_cast<std::ptrdiff_t>(first + static_cast<std::size_t>(row) * stride));
        }
        ImageResizeArgs args = plain_args(height, width, 3, out_height, out_width, true);
        args.row_bytes = static_cast<std::int64_t>(stride) * (is_flipped ? -1 : 1);
        args.order = order;
        args.canvas_height = 30, args.canvas_width = 50, args.top = 4, args.left = 7;
        args.rescale = 1.0f / 255;
        for (int c = 0; c < 3; ++c) {
          args.mean[c] = 0.4f + 0.05f * static_cast<float>(c), args.std[c] = 0.22f + 0.01f * static_cast<float>(c);
          args.pad_value[c] = -1.5f - static_cast<float>(c);
        }
        const auto y = run(args, stored, is_flipped ? first + stride * (height - 1) : first);
        double largest = 0.0;
        for (int i = 0; i < 3 * 30 * 50; ++i) {
          const int c = i / 1500, row = i / 50 % 30 - 4, column = i % 50 - 7;
          const bool is_inside = row >= 0 && row < out_height && column >= 0 && column < out_width;
          double expected = args.pad_value[c];
          if (is_inside) {
            const double pixel =
                resized[std::size_t(row * out_width + column) * 3 + (order == PixelOrder::bgr ? 2 - c : c)];
            expected = (pixel * args.rescale - args.mean[c]) / args.std[c];
          }
          const double difference = std::abs(expected - y[std::size_t(i)]);
          largest = is_inside || difference == 0 ? std::max(largest, difference) : HUGE_VAL;
        }
        CHECK(largest <= 6e-7);  // values up to 3 and a sum of two terms up to 5: two roundings
      }
    }
  }
}

TEST_CASE("image_resize: black and white stay what they are") {
  for (const int value : {0, 255}) {
    const Bytes pixels(std::size_t(100) * 90 * 3, static_cast<std::uint8_t>(value));
    for (const int side : {11, 45, 200}) {
      for (const bool rounding : {true, false}) {
        ImageResizeArgs args = plain_args(100, 90, 3, side, side, true);
        args.rounding = rounding;
        const Bytes expected(std::size_t(side) * side * 3, static_cast<std::uint8_t>(value));
        CHECK(largest_difference(run(args, pixels), expected, 3) <= (rounding ? 0.0 : 2e-4));
      }
    }
  }
}

TEST_CASE("image_resize: wrong arguments are errors") {
  const ImageResizeArgs args = plain_args(4, 4, 3, 2, 2, true);
  const auto throws = [&](auto change) {
    ImageResizeArgs changed = args;
    change(changed);
    CHECK_THROWS_AS(cuda::image_resize_scratch_bytes(changed), Error);
    CHECK_THROWS_AS(cuda::image_resize(changed, nullptr), Error);
  };
  throws([](auto& a) { a.width = 0; });
  throws([](auto& a) { a.out_height = -1; });
  throws([](auto& a) { a.row_bytes = 11; });
  throws([](auto& a) { a.row_bytes = -11; });
  throws([](auto& a) { a.left = 1; });
  throws([](auto& a) { a.top = -1; });
}

}  // namespace
}  // namespace vistazo
