#include "apps/scans/scan.h"

#include <algorithm>

#include "apps/image_io.h"

namespace vistazo::apps {
namespace {

// Keeps the pixels that the reader borrows.
class PictureRegions final : public RegionReader {
 public:
  explicit PictureRegions(Picture picture)
      : picture_(std::move(picture)), regions_(make_region_reader(picture_.view())) {}

  int width() const override { return picture_.width; }
  int height() const override { return picture_.height; }
  void read(int x, int y, int width, int height, std::uint8_t* pixels, std::ptrdiff_t row_bytes) override {
    regions_->read(x, y, width, height, pixels, row_bytes);
  }
  std::unique_ptr<RegionReader> clone() const override { return std::make_unique<PictureRegions>(picture_); }

 private:
  Picture picture_;
  std::unique_ptr<RegionReader> regions_;
};

}  // namespace

Detection Scan::to_full(Detection detection) const {
  const auto x = [&](float v) {
    return static_cast<float>(std::clamp(v * scale_x + left, 0.0, static_cast<double>(width)));
  };
  const auto y = [&](float v) {
    return static_cast<float>(std::clamp(v * scale_y + top, 0.0, static_cast<double>(height)));
  };
  const Box& b = detection.box;
  detection.box = {x(b.x0), y(b.y0), x(b.x1), y(b.y1)};
  return detection;
}

Scan open_scan(const std::filesystem::path& path, double scale) {
  Scan scan = open_slide(path, scale);
  if (!scan.reader) scan = open_tiff(path, scale);
  if (scan.reader) return scan;
  Picture picture = read_picture(path);
  scan.width = picture.width;
  scan.height = picture.height;
  scan.format = "picture";
  scan.reader = std::make_unique<PictureRegions>(std::move(picture));
  return scan;
}

}  // namespace vistazo::apps
