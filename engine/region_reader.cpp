#include <vistazo/tiling.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/preprocess.h"
#include "kernels/base/error.h"

namespace vistazo {
namespace {

class ImageRegions final : public RegionReader {
 public:
  explicit ImageRegions(const Image& image) : image_(image) {}

  int width() const override { return image_.width; }
  int height() const override { return image_.height; }
  std::unique_ptr<RegionReader> clone() const override { return std::make_unique<ImageRegions>(image_); }

  void read(int x, int y, int width, int height, std::uint8_t* pixels, std::ptrdiff_t row_bytes) override {
    const int channels = image_.format == PixelFormat::gray8 ? 1 : 3;
    const int red = image_.format == PixelFormat::bgr8 ? 2 : 0, green = channels == 3 ? 1 : 0;
    const int blue = image_.format == PixelFormat::rgb8 ? 2 : 0;
    for (int row = 0; row < height; ++row) {
      const std::uint8_t* from = image_.pixels + (y + row) * image_.row_bytes + x * channels;
      std::uint8_t* to = pixels + row * row_bytes;
      if (image_.format == PixelFormat::rgb8) {
        std::memcpy(to, from, 3 * static_cast<std::size_t>(width));
        continue;
      }
      for (int column = 0; column < width; ++column, from += channels, to += 3) {
        to[0] = from[red];
        to[1] = from[green];
        to[2] = from[blue];
      }
    }
  }

 private:
  Image image_;
};

}  // namespace

std::unique_ptr<RegionReader> make_region_reader(const Image& image) {
  require_valid(image, "make_region_reader", 0);
  return std::make_unique<ImageRegions>(image);
}

// Output pixel (x, y) is the mean of the pixels from floor(x * width / out_width) on, up to where the next one begins.
void RegionReader::read_overview(int out_width, int out_height, std::uint8_t* pixels) {
  if (out_width < 1 || out_height < 1 || out_width > width() || out_height > height()) {
    fail(Error::Code::argument, "read_overview: {} x {} pixels of an image of {} x {}", out_width, out_height, width(),
         height());
  }
  // As many rows at once as fit: readers of tiles decode every tile that a part touches.
  constexpr std::size_t kBandBytes = std::size_t{64} << 20;
  const auto begin = [](int i, int size, int out) {
    return static_cast<int>(static_cast<std::int64_t>(i) * size / out);
  };
  const auto row_bytes = 3 * static_cast<std::size_t>(width());
  const int most_rows = std::max(1, static_cast<int>(kBandBytes / row_bytes));
  std::vector<std::uint8_t> band;
  std::vector<std::uint64_t> sums(3 * static_cast<std::size_t>(out_width));
  int out_y = 0, bottom = begin(1, height(), out_height), rows_in_sums = 0;
  for (int top = 0; top < height(); top += most_rows) {
    const int rows = std::min(most_rows, height() - top);
    band.resize(static_cast<std::size_t>(rows) * row_bytes);
    read(0, top, width(), rows, band.data(), static_cast<std::ptrdiff_t>(row_bytes));
    for (int y = top; y < top + rows; ++y) {
      const std::uint8_t* from = band.data() + static_cast<std::size_t>(y - top) * row_bytes;
      for (int out_x = 0; out_x < out_width; ++out_x) {
        std::uint64_t* sum = sums.data() + 3 * out_x;
        for (int x = begin(out_x, width(), out_width); x < begin(out_x + 1, width(), out_width); ++x, from += 3) {
          for (int c = 0; c < 3; ++c) sum[c] += from[c];
        }
      }
      ++rows_in_sums;
      if (y + 1 < bottom) continue;
      for (int out_x = 0; out_x < out_width; ++out_x) {
        const int columns = begin(out_x + 1, width(), out_width) - begin(out_x, width(), out_width);
        const auto area = static_cast<std::uint64_t>(columns) * static_cast<std::uint64_t>(rows_in_sums);
        for (std::size_t c = 0; c < 3; ++c) {
          const std::uint64_t sum = sums[3 * static_cast<std::size_t>(out_x) + c];
          *pixels++ = static_cast<std::uint8_t>((sum + area / 2) / area);
        }
      }
      std::ranges::fill(sums, 0);
      rows_in_sums = 0;
      bottom = begin(++out_y + 1, height(), out_height);
    }
  }
}

}  // namespace vistazo
