#include <fmt/core.h>
#include <openslide.h>
#include <vistazo/error.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

#include "apps/scans/scan.h"

namespace vistazo::apps {
namespace {

using Slide = std::shared_ptr<openslide_t>;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(Error::Code::file, message);
}

void require_well(openslide_t* slide) {
  if (const char* error = openslide_get_error(slide)) refuse(error);
}

std::int64_t property(openslide_t* slide, const char* name, std::int64_t fallback) {
  const char* text = openslide_get_property_value(slide, name);
  if (!text) return fallback;
  const std::string_view view(text);
  std::int64_t value = fallback;
  std::from_chars(view.data(), view.data() + view.size(), value);
  return value;
}

int to_int(std::int64_t value) {
  if (value < 1 || value > std::numeric_limits<int>::max()) refuse(fmt::format("a side of {} pixels", value));
  return static_cast<int>(value);
}

// One level, within the part of the slide that was scanned. OpenSlide's handles may be used by several threads.
class SlideRegions final : public RegionReader {
 public:
  struct Place {
    int level;
    std::int64_t left, top;    // full-resolution pixels
    double scale_x, scale_y;   // full-resolution pixels for one of the level's
    int width, height;         // of the level's part
    std::uint32_t background;  // 0xRRGGBB, where nothing was scanned
  };

  SlideRegions(Slide slide, const Place& place) : slide_(std::move(slide)), p_(place) {}

  int width() const override { return p_.width; }
  int height() const override { return p_.height; }
  std::unique_ptr<RegionReader> clone() const override { return std::make_unique<SlideRegions>(slide_, p_); }

  void read(int x, int y, int width, int height, std::uint8_t* pixels, std::ptrdiff_t row_bytes) override {
    buffer_.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
    openslide_read_region(slide_.get(), buffer_.data(), p_.left + std::llround(x * p_.scale_x),
                          p_.top + std::llround(y * p_.scale_y), p_.level, width, height);
    require_well(slide_.get());
    const std::uint32_t* from = buffer_.data();
    for (int row = 0; row < height; ++row) {
      std::uint8_t* to = pixels + row * row_bytes;
      for (int column = 0; column < width; ++column, ++from, to += 3) {
        // Colours are multiplied by alpha; below 255 the background shows through.
        const std::uint32_t clear = 255 - (*from >> 24);
        for (int c = 0; c < 3; ++c) {
          const int shift = 16 - 8 * c;
          const std::uint32_t behind = (p_.background >> shift) & 0xff;
          to[c] = static_cast<std::uint8_t>(((*from >> shift) & 0xff) + (behind * clear + 127) / 255);
        }
      }
    }
  }

 private:
  Slide slide_;
  Place p_;
  std::vector<std::uint32_t> buffer_;
};

std::uint32_t background_of(openslide_t* slide) {
  constexpr std::uint32_t kWhite = 0xffffff;
  const char* text = openslide_get_property_value(slide, OPENSLIDE_PROPERTY_NAME_BACKGROUND_COLOR);
  if (!text) return kWhite;
  const std::string_view view(text);
  std::uint32_t colour = kWhite;
  std::from_chars(view.data(), view.data() + view.size(), colour, 16);
  return colour;
}

}  // namespace

Scan open_slide(const std::filesystem::path& path, double scale) {
  Scan scan;
  const char* vendor = openslide_detect_vendor(path.c_str());
  if (!vendor) return scan;
#ifdef VISTAZO_HAS_TIFF
  // Our own reader decodes in several threads, and reads 16 bits too, which OpenSlide 3.4 does not.
  if (std::string_view(vendor) == "generic-tiff") return scan;
#endif
  const Slide slide(openslide_open(path.c_str()), openslide_close);
  if (!slide) return scan;
  require_well(slide.get());
  std::int64_t full_width = 0, full_height = 0;
  openslide_get_level0_dimensions(slide.get(), &full_width, &full_height);
  scan.width = to_int(full_width);
  scan.height = to_int(full_height);
  scan.left = static_cast<int>(property(slide.get(), OPENSLIDE_PROPERTY_NAME_BOUNDS_X, 0));
  scan.top = static_cast<int>(property(slide.get(), OPENSLIDE_PROPERTY_NAME_BOUNDS_Y, 0));
  const std::int64_t part_width = property(slide.get(), OPENSLIDE_PROPERTY_NAME_BOUNDS_WIDTH, full_width - scan.left);
  const std::int64_t part_height = property(slide.get(), OPENSLIDE_PROPERTY_NAME_BOUNDS_HEIGHT, full_height - scan.top);
  constexpr double kSlack = 1.01;  // levels are not exact fractions
  const int level = openslide_get_best_level_for_downsample(slide.get(), kSlack / scale);
  std::int64_t width = 0, height = 0;
  openslide_get_level_dimensions(slide.get(), level, &width, &height);
  require_well(slide.get());
  scan.scale_x = static_cast<double>(full_width) / static_cast<double>(to_int(width));
  scan.scale_y = static_cast<double>(full_height) / static_cast<double>(to_int(height));
  const auto part = [](std::int64_t full, double factor) {
    return to_int(std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(full) / factor)));
  };
  scan.format = vendor;
  scan.reader = std::make_unique<SlideRegions>(
      slide, SlideRegions::Place{level, scan.left, scan.top, scan.scale_x, scan.scale_y, part(part_width, scan.scale_x),
                                 part(part_height, scan.scale_y), background_of(slide.get())});
  return scan;
}

}  // namespace vistazo::apps
