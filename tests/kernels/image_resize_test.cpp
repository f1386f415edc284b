#include "kernels/image_resize.h"

#include <doctest/doctest.h>
#include <vistazo/error.h>

#include <random>

#include "kernels/cpu/thread_pool.h"
#include "tests/reference/image_resize.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"
#include "tests/support/stored_tensors.h"

namespace vistazo {
namespace {

using reference::Bytes;
using testing::GuardedBuffer;

Bytes random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  Bytes bytes(count);
  for (auto& b : bytes) b = static_cast<std::uint8_t>(generator() >> 8);
  return bytes;
}

// Runs the kernel with scratch and output of exactly the wanted sizes.
std::vector<float> run(ImageResizeArgs args) {
  GuardedBuffer y(std::size_t(3) * args.canvas_height * args.canvas_width, DType::f32);
  GuardedBuffer scratch(cpu::image_resize_scratch_bytes(args), DType::u8);
  args.y = y.as<float>();
  args.scratch = scratch.data();
  cpu::image_resize(args, ThreadPool(2));
  CHECK(y.is_guard_intact());
  CHECK(scratch.is_guard_intact());
  return y.floats();
}

// The whole canvas, values as they are.
ImageResizeArgs plain_args(const std::uint8_t* pixels, int height, int width, int channels, int out_height,
                           int out_width, bool antialias) {
  return {pixels,
          height,
          width,
          std::int64_t{width} * channels,
          channels == 3 ? PixelOrder::rgb : PixelOrder::gray,
          nullptr,
          out_height,
          out_width,
          0,
          0,
          out_height,
          out_width,
          1.0f,
          {0, 0, 0},
          {1, 1, 1},
          {0, 0, 0},
          antialias,
          true,
          nullptr};
}

// Back to interleaved bytes, (height, width, 3).
Bytes interleaved(const std::vector<float>& planes) {
  Bytes bytes(planes.size());
  const std::size_t area = planes.size() / 3;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < planes.size(); ++i) {
    bytes[i % area * 3 + i / area] = static_cast<std::uint8_t>(planes[i]);
    wrong += planes[i] != static_cast<float>(bytes[i % area * 3 + i / area]);
  }
  CHECK(wrong == 0);
  return bytes;
}

template <typename A, typename B>
double largest_difference(const std::vector<A>& a, const std::vector<B>& b) {
  return testing::max_difference(std::vector<double>(a.begin(), a.end()), b);
}

struct Sizes {
  int height, width, out_height, out_width;
};

// Enlarging and shrinking, either side of each vector size (4, 8, 16 taps), sides of 1, windows at the right end.
const Sizes kSizes[] = {{1, 1, 1, 1},     {1, 1, 7, 5},     {5, 3, 30, 30},   {17, 63, 1, 1},   {37, 53, 40, 56},
                        {65, 21, 17, 20}, {65, 22, 17, 20}, {9, 23, 9, 11},   {64, 64, 32, 32}, {63, 65, 33, 17},
                        {31, 197, 4, 33}, {3, 577, 5, 65},  {13, 300, 13, 7}, {20, 60, 33, 25}, {7, 128, 7, 128},
                        {41, 30, 41, 60}, {2, 1025, 3, 1},  {6, 1025, 2, 2},  {150, 8, 3, 300}, {90, 90, 14, 11}};

TEST_CASE("image_resize equals the plain loop, bit for bit, and is within 1 of the exact value") {
  testing::for_each_simd_target([] {
    for (const Sizes& s : kSizes) {
      for (const int channels : {3, 1}) {
        for (const bool antialias : {true, false}) {
          CAPTURE(s.height);
          CAPTURE(s.width);
          CAPTURE(s.out_width);
          CAPTURE(channels);
          CAPTURE(antialias);
          const Bytes pixels = random_bytes(std::size_t(s.height) * s.width * channels, 1);
          Bytes y = interleaved(
              run(plain_args(pixels.data(), s.height, s.width, channels, s.out_height, s.out_width, antialias)));
          if (channels == 1) {
            std::size_t wrong = 0;
            for (std::size_t i = 0; i < y.size(); ++i) wrong += y[i] != y[i / 3 * 3];
            CHECK(wrong == 0);
            for (std::size_t i = 0; i < y.size() / 3; ++i) y[i] = y[3 * i];
            y.resize(y.size() / 3);
          }
          CHECK(y ==
                reference::image_resize(pixels, s.height, s.width, channels, s.out_height, s.out_width, antialias));
          const auto exact =
              reference::image_resize_exact(pixels, s.height, s.width, channels, s.out_height, s.out_width, antialias);
          CHECK(largest_difference(y, exact) <= 1.0 + 1e-4);  // two roundings, of weights too
        }
      }
    }
  });
}

TEST_CASE("image_resize of extreme images: black, white, and a white line") {
  testing::for_each_simd_target([] {
    for (const int value : {0, 255}) {
      const Bytes pixels(std::size_t(100) * 90 * 3, static_cast<std::uint8_t>(value));
      for (const int side : {11, 45, 200}) {
        const Bytes y = interleaved(run(plain_args(pixels.data(), 100, 90, 3, side, side, true)));
        CHECK(y == Bytes(y.size(), static_cast<std::uint8_t>(value)));
      }
    }
  });
}

TEST_CASE("image_resize equals Pillow and is within 1 of PyTorch") {
  const testing::StoredTensors stored("resize/resize.safetensors");
  testing::for_each_simd_target([&] {
    for (int i = 0; i < 6; ++i) {
      const std::string name = "case" + std::to_string(i) + "_";
      CAPTURE(name);
      const Bytes pixels = stored.read<std::uint8_t>(name + "in");
      const int height = stored.size(name + "in", 0), width = stored.size(name + "in", 1);
      const int out_height = stored.size(name + "pillow", 0), out_width = stored.size(name + "pillow", 1);
      const Bytes y = interleaved(run(plain_args(pixels.data(), height, width, 3, out_height, out_width, true)));
      CHECK(y == stored.read<std::uint8_t>(name + "pillow"));
      CHECK(largest_difference(y, stored.read<float>(name + "torch")) <= 1.0 + 1e-4);
      const Bytes two_taps =
          interleaved(run(plain_args(pixels.data(), height, width, 3, out_height, out_width, false)));
      CHECK(largest_difference(two_taps, stored.read<float>(name + "noaa")) <= 1.0 + 1e-4);
    }
  });
}

// Weights are off by 2^-23 each and sums are f32: some 1e-7 a tap of values up to 255.
double unrounded_tolerance(const Sizes& s) {
  return 1e-4 + 255 * 3e-7 * (s.height / s.out_height + s.width / s.out_width);
}

TEST_CASE("image_resize without rounding is near the exact value and PyTorch's floats") {
  const testing::StoredTensors stored("resize/resize.safetensors");
  testing::for_each_simd_target([&] {
    for (const Sizes& s : kSizes) {
      for (const int channels : {3, 1}) {
        for (const bool antialias : {true, false}) {
          CAPTURE(s.width);
          CAPTURE(s.out_width);
          const Bytes pixels = random_bytes(std::size_t(s.height) * s.width * channels, 2);
          ImageResizeArgs args =
              plain_args(pixels.data(), s.height, s.width, channels, s.out_height, s.out_width, antialias);
          args.rounding = false;
          const std::vector<float> y = run(args);
          const auto exact =
              reference::image_resize_exact(pixels, s.height, s.width, channels, s.out_height, s.out_width, antialias);
          const std::size_t area = y.size() / 3;
          double largest = 0.0;
          for (std::size_t i = 0; i < y.size(); ++i) {
            const std::size_t element = channels == 3 ? i % area * 3 + i / area : i % area;
            largest = std::max(largest, std::abs(y[i] - exact[element]));
          }
          CHECK(largest <= unrounded_tolerance(s));
        }
      }
    }
    for (int i = 0; i < 6; ++i) {
      const std::string name = "case" + std::to_string(i) + "_";
      const Bytes pixels = stored.read<std::uint8_t>(name + "in");
      const Sizes s{stored.size(name + "in", 0), stored.size(name + "in", 1), stored.size(name + "torch", 0),
                    stored.size(name + "torch", 1)};
      for (const bool antialias : {true, false}) {
        ImageResizeArgs args = plain_args(pixels.data(), s.height, s.width, 3, s.out_height, s.out_width, antialias);
        args.rounding = false;
        const std::vector<float> y = run(args), expected = stored.read<float>(name + (antialias ? "torch" : "noaa"));
        double largest = 0.0;
        for (std::size_t e = 0; e < y.size(); ++e) {
          largest = std::max<double>(largest, std::abs(y[e % 3 * (y.size() / 3) + e / 3] - expected[e]));
        }
        CHECK(largest <= unrounded_tolerance(s));
      }
    }
  });
}

TEST_CASE("image_resize: any row stride, BGR, letterbox with padding, rescale, mean and std") {
  testing::for_each_simd_target([] {
    const int height = 45, width = 77, out_height = 21, out_width = 39;
    const Bytes dense = random_bytes(std::size_t(height) * width * 3, 4);
    const Bytes resized = reference::image_resize(dense, height, width, 3, out_height, out_width, true);
    for (const bool is_flipped : {false, true}) {
      for (const PixelOrder order : {PixelOrder::rgb, PixelOrder::bgr}) {
        // The last row ends the allocation, so that a read beyond it is seen by a sanitizer.
        const std::size_t stride = width * 3 + 11;
        Bytes stored(stride * (height - 1) + width * 3, 0xEE);
        for (int i = 0; i < height; ++i) {
          const int row = is_flipped ? height - 1 - i : i;
          std::copy_n(dense.begin() + i * width * 3, width * 3, stored.begin() + row * stride);
        }
        ImageResizeArgs args = plain_args(stored.data(), height, width, 3, out_height, out_width, true);
        args.row_bytes = static_cast<std::int64_t>(stride);
        if (is_flipped) {
          args.pixels += stride * (height - 1);
          args.row_bytes = -args.row_bytes;
        }
        args.order = order;
        args.canvas_height = 30, args.canvas_width = 50, args.top = 4, args.left = 7;
        args.rescale = 1.0f / 255;
        for (int c = 0; c < 3; ++c) {
          args.mean[c] = 0.4f + 0.05f * c, args.std[c] = 0.22f + 0.01f * c, args.pad_value[c] = -1.5f - c;
        }
        const std::vector<float> y = run(args);
        double largest = 0.0;
        for (int c = 0; c < 3; ++c) {
          for (int i = 0; i < 30; ++i) {
            for (int j = 0; j < 50; ++j) {
              const bool is_inside = i >= 4 && i < 25 && j >= 7 && j < 46;
              const int channel = order == PixelOrder::bgr ? 2 - c : c;
              const double expected =
                  is_inside
                      ? (double(resized[((i - 4) * out_width + j - 7) * 3 + channel]) * args.rescale - args.mean[c]) /
                            args.std[c]
                      : args.pad_value[c];
              const double difference = std::abs(expected - y[(c * 30 + i) * 50 + j]);
              largest = is_inside || difference == 0 ? std::max(largest, difference) : 1e9;
            }
          }
        }
        CHECK(largest <= 6e-7);  // values up to 3 and a sum of two terms up to 5: two roundings
      }
    }
  });
}

TEST_CASE("image_resize: wrong arguments are named") {
  const Bytes pixels(48);
  ImageResizeArgs args = plain_args(pixels.data(), 4, 4, 3, 2, 2, true);
  const auto throws = [&](auto change) {
    ImageResizeArgs changed = args;
    change(changed);
    CHECK_THROWS_AS(cpu::image_resize_scratch_bytes(changed), Error);
  };
  throws([](auto& a) { a.width = 0; });
  throws([](auto& a) { a.out_height = -1; });
  throws([](auto& a) { a.row_bytes = 11; });
  throws([](auto& a) { a.row_bytes = -11; });
  throws([](auto& a) { a.left = 1; });
  throws([](auto& a) { a.top = -1; });
}

TEST_CASE("image_resize: sizes of 65535 do not overflow") {
  // A single row that every row pointer aliases: row_bytes may not be less than a row, so the image is a column or a
  // row.
  ImageResizeArgs args = plain_args(nullptr, 65535, 65535, 3, 65535, 65535, true);
  CHECK(cpu::image_resize_scratch_bytes(args) > std::size_t(65535) * 65535 * 3);
  const Bytes line = random_bytes(std::size_t(65535) * 3, 5);
  CHECK(interleaved(run(plain_args(line.data(), 1, 65535, 3, 2, 9, true))) ==
        reference::image_resize(line, 1, 65535, 3, 2, 9, true));
  CHECK(interleaved(run(plain_args(line.data(), 65535, 1, 3, 9, 2, true))) ==
        reference::image_resize(line, 65535, 1, 3, 9, 2, true));
}

}  // namespace
}  // namespace vistazo
