#include <fmt/core.h>
#include <tiffio.h>
#include <vistazo/error.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <list>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "apps/scans/scan.h"

// TIFF and BigTIFF, tiled or in strips, of any photometry and compression that libtiff turns into RGB.
namespace vistazo::apps {
namespace {

using Block = std::shared_ptr<const std::vector<std::uint8_t>>;  // R, G, B, rows dense
using Tiff = std::unique_ptr<TIFF, decltype(&TIFFClose)>;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(Error::Code::file, message);
}

// Decoded tiles or strips, the least recently used go first. A row of windows reads each tile some four times; the
// limit holds the tiles that a row of 80,000 pixels crosses.
class BlockCache {
 public:
  Block find(std::uint32_t index) {
    const std::lock_guard lock(mutex_);
    const auto known = blocks_.find(index);
    if (known == blocks_.end()) return nullptr;
    order_.splice(order_.begin(), order_, known->second.place);
    return known->second.block;
  }

  void add(std::uint32_t index, const Block& block) {
    const std::lock_guard lock(mutex_);
    if (blocks_.contains(index)) return;
    order_.push_front(index);
    blocks_[index] = {block, order_.begin()};
    bytes_ += block->size();
    while (bytes_ > kMaxBytes && order_.size() > 1) {
      const auto oldest = blocks_.find(order_.back());
      bytes_ -= oldest->second.block->size();
      blocks_.erase(oldest);
      order_.pop_back();
    }
  }

 private:
  static constexpr std::size_t kMaxBytes = std::size_t{256} << 20;
  struct Entry {
    Block block;
    std::list<std::uint32_t>::iterator place;
  };
  std::mutex mutex_;
  std::list<std::uint32_t> order_;
  std::unordered_map<std::uint32_t, Entry> blocks_;
  std::size_t bytes_ = 0;
};

// How one page of the file is laid out.
struct Page {
  int number = 0;
  int width = 0, height = 0;
  int block_width = 0, block_height = 0;
  bool is_tiled = false;
};

Tiff open_page(const std::filesystem::path& path, int number) {
  Tiff tiff(TIFFOpen(path.c_str(), "r"), TIFFClose);
  if (!tiff || !TIFFSetDirectory(tiff.get(), static_cast<tdir_t>(number))) refuse("the TIFF is damaged or truncated");
  std::uint16_t compression = 0, extra = 0, *kinds = nullptr;
  TIFFGetField(tiff.get(), TIFFTAG_COMPRESSION, &compression);
  if (compression == COMPRESSION_JPEG) TIFFSetField(tiff.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
  // libtiff would multiply the colours by an alpha that is not in them yet; a detector wants them as they are stored.
  if (TIFFGetField(tiff.get(), TIFFTAG_EXTRASAMPLES, &extra, &kinds) && extra == 1 &&
      *kinds == EXTRASAMPLE_UNASSALPHA) {
    std::uint16_t associated = EXTRASAMPLE_ASSOCALPHA;
    TIFFSetField(tiff.get(), TIFFTAG_EXTRASAMPLES, 1, &associated);
  }
  return tiff;
}

class TiffRegions final : public RegionReader {
 public:
  TiffRegions(std::filesystem::path path, const Page& page, std::shared_ptr<BlockCache> cache)
      : path_(std::move(path)), page_(page), cache_(std::move(cache)), tiff_(open_page(path_, page.number)) {}

  int width() const override { return page_.width; }
  int height() const override { return page_.height; }
  std::unique_ptr<RegionReader> clone() const override { return std::make_unique<TiffRegions>(path_, page_, cache_); }

  void read(int x, int y, int width, int height, std::uint8_t* pixels, std::ptrdiff_t row_bytes) override {
    const int bw = page_.block_width, bh = page_.block_height;
    for (int top = y / bh * bh; top < y + height; top += bh) {
      for (int left = x / bw * bw; left < x + width; left += bw) {
        const Block block = block_at(left, top);
        const int x0 = std::max(x, left), x1 = std::min(x + width, left + bw);
        const int y0 = std::max(y, top), y1 = std::min(y + height, top + bh);
        for (int row = y0; row < y1; ++row) {
          const auto offset = 3 * (static_cast<std::size_t>(row - top) * static_cast<std::size_t>(bw) +
                                   static_cast<std::size_t>(x0 - left));
          std::memcpy(pixels + (row - y) * row_bytes + 3 * (x0 - x), block->data() + offset,
                      3 * static_cast<std::size_t>(x1 - x0));
        }
      }
    }
  }

 private:
  // The block that begins there.
  Block block_at(int left, int top) {
    const auto columns = static_cast<std::uint32_t>((page_.width + page_.block_width - 1) / page_.block_width);
    const auto index = static_cast<std::uint32_t>(top / page_.block_height) * columns +
                       static_cast<std::uint32_t>(left / page_.block_width);
    if (Block known = cache_->find(index)) return known;
    const int rows = page_.is_tiled ? page_.block_height : std::min(page_.block_height, page_.height - top);
    raster_.resize(static_cast<std::size_t>(page_.block_width) * static_cast<std::size_t>(rows));
    constexpr int kStopOnError = 1;
    const int is_read =
        page_.is_tiled
            ? TIFFReadRGBATileExt(tiff_.get(), static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(top),
                                  raster_.data(), kStopOnError)
            : TIFFReadRGBAStripExt(tiff_.get(), static_cast<std::uint32_t>(top), raster_.data(), kStopOnError);
    if (!is_read) refuse(fmt::format("the TIFF is damaged or truncated at x {}, y {}", left, top));
    auto block = std::make_shared<std::vector<std::uint8_t>>(3 * raster_.size());
    std::uint8_t* to = block->data();
    for (int row = rows - 1; row >= 0; --row) {  // libtiff's rasters begin at the bottom
      const std::uint32_t* from =
          raster_.data() + static_cast<std::size_t>(row) * static_cast<std::size_t>(page_.block_width);
      for (int column = 0; column < page_.block_width; ++column, ++from, to += 3) {
        to[0] = static_cast<std::uint8_t>(TIFFGetR(*from));
        to[1] = static_cast<std::uint8_t>(TIFFGetG(*from));
        to[2] = static_cast<std::uint8_t>(TIFFGetB(*from));
      }
    }
    cache_->add(index, block);
    return block;
  }

  std::filesystem::path path_;
  Page page_;
  std::shared_ptr<BlockCache> cache_;
  Tiff tiff_;
  std::vector<std::uint32_t> raster_;
};

Page describe_page(TIFF* tiff, int number) {
  std::uint32_t width = 0, height = 0, block_width = 0, block_height = 0;
  std::uint16_t orientation = ORIENTATION_TOPLEFT;
  TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width);
  TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height);
  TIFFGetField(tiff, TIFFTAG_ORIENTATION, &orientation);
  Page page{number, 0, 0, 0, 0, TIFFIsTiled(tiff) != 0};
  if (page.is_tiled) {
    TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &block_width);
    TIFFGetField(tiff, TIFFTAG_TILELENGTH, &block_height);
  } else {
    block_width = width;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_ROWSPERSTRIP, &block_height);
    block_height = std::min(block_height, height);
  }
  constexpr std::uint32_t kMost = std::numeric_limits<int>::max() / 2;
  for (const std::uint32_t side : {width, height, block_width, block_height}) {
    if (side < 1 || side > kMost) refuse("the TIFF's sizes make no sense");
  }
  constexpr double kMostBlockBytes = 1 << 29;
  if (4.0 * block_width * block_height > kMostBlockBytes) {
    refuse(
        fmt::format("the TIFF is in strips or tiles of {} x {} pixels, too large to be read part by part; rewrite it "
                    "with tiles",
                    block_width, block_height));
  }
  char reason[1024] = "";
  if (!TIFFRGBAImageOK(tiff, reason)) refuse(fmt::format("a TIFF that libtiff does not turn into colours: {}", reason));
  if (orientation != ORIENTATION_TOPLEFT) refuse("the TIFF is not stored upright; rewrite it so");
  page.width = static_cast<int>(width);
  page.height = static_cast<int>(height);
  page.block_width = static_cast<int>(block_width);
  page.block_height = static_cast<int>(block_height);
  return page;
}

bool is_tiff(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  char magic[4] = {};
  stream.read(magic, sizeof magic);
  for (const char* known : {"II*\0", "MM\0*", "II+\0", "MM\0+"}) {
    if (std::memcmp(magic, known, sizeof magic) == 0) return true;
  }
  return false;
}

}  // namespace

Scan open_tiff(const std::filesystem::path& path, double scale) {
  Scan scan;
  if (!is_tiff(path)) return scan;
  TIFFSetErrorHandler(nullptr);  // what matters is in our errors
  TIFFSetWarningHandler(nullptr);
  const Tiff tiff = open_page(path, 0);
  Page best = describe_page(tiff.get(), 0);
  scan.width = best.width;
  scan.height = best.height;
  constexpr double kSlack = 0.99;  // levels are not exact fractions
  for (int number = 1; TIFFReadDirectory(tiff.get()); ++number) {
    std::uint32_t kind = 0;
    if (!TIFFGetField(tiff.get(), TIFFTAG_SUBFILETYPE, &kind) || !(kind & FILETYPE_REDUCEDIMAGE)) continue;
    const Page page = describe_page(tiff.get(), number);
    const double x = static_cast<double>(page.width) / scan.width, y = static_cast<double>(page.height) / scan.height;
    const bool is_level = std::abs(x / y - 1) < 0.02;  // not a label or a thumbnail of other proportions
    if (is_level && x >= kSlack * scale && page.width < best.width) best = page;
  }
  scan.scale_x = static_cast<double>(scan.width) / best.width;
  scan.scale_y = static_cast<double>(scan.height) / best.height;
  scan.format = "TIFF";
  scan.reader = std::make_unique<TiffRegions>(path, best, std::make_shared<BlockCache>());
  return scan;
}

}  // namespace vistazo::apps
