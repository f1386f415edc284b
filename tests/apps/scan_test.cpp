#ifdef VISTAZO_HAS_TIFF

#include "apps/scans/scan.h"

#include <doctest/doctest.h>
#include <tiffio.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <vector>

#include "tests/support/temporary_folder.h"

namespace vistazo::apps {
namespace {

namespace fs = std::filesystem;

struct Layout {
  const char* mode = "w";
  int tile = 0;  // 0: strips
  std::uint16_t compression = COMPRESSION_NONE;
  std::uint16_t channels = 3;
  std::uint16_t bits = 8;
  const char* description = nullptr;
};

int value_at(int x, int y, int c) {
  return (x * 3 + y * 5 + c * 80) % 256;
}

std::vector<std::uint8_t> rows_of(int left, int top, int width, int height, const Layout& layout) {
  std::vector<std::uint8_t> bytes;
  for (int y = top; y < top + height; ++y) {
    for (int x = left; x < left + width; ++x) {
      for (int c = 0; c < layout.channels; ++c) {
        const auto value = static_cast<std::uint8_t>(c < 3 ? value_at(x, y, c) : 100);
        for (int i = 0; i < layout.bits / 8; ++i) bytes.push_back(value);  // 257 times the value in 16 bits
      }
    }
  }
  return bytes;
}

void write_page(TIFF* tiff, int width, int height, const Layout& layout, bool is_reduced) {
  TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, width);
  TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, height);
  TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, layout.bits);
  TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, layout.channels);
  TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, layout.channels == 1 ? PHOTOMETRIC_MINISBLACK : PHOTOMETRIC_RGB);
  TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  TIFFSetField(tiff, TIFFTAG_COMPRESSION, layout.compression);
  std::uint16_t alpha = EXTRASAMPLE_UNASSALPHA;
  if (layout.channels == 4) TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, &alpha);
  if (layout.description) TIFFSetField(tiff, TIFFTAG_IMAGEDESCRIPTION, layout.description);
  if (is_reduced) TIFFSetField(tiff, TIFFTAG_SUBFILETYPE, FILETYPE_REDUCEDIMAGE);
  if (layout.tile > 0) {
    TIFFSetField(tiff, TIFFTAG_TILEWIDTH, layout.tile);
    TIFFSetField(tiff, TIFFTAG_TILELENGTH, layout.tile);
    for (int y = 0; y < height; y += layout.tile) {
      for (int x = 0; x < width; x += layout.tile) {
        auto bytes = rows_of(x, y, layout.tile, layout.tile, layout);
        const auto number = TIFFComputeTile(tiff, static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(y), 0, 0);
        REQUIRE(TIFFWriteEncodedTile(tiff, number, bytes.data(), static_cast<tmsize_t>(bytes.size())) > 0);
      }
    }
  } else {
    constexpr int kRows = 7;
    TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, kRows);
    for (int y = 0; y < height; y += kRows) {
      auto bytes = rows_of(0, y, width, std::min(kRows, height - y), layout);
      const auto number = TIFFComputeStrip(tiff, static_cast<std::uint32_t>(y), 0);
      REQUIRE(TIFFWriteEncodedStrip(tiff, number, bytes.data(), static_cast<tmsize_t>(bytes.size())) > 0);
    }
  }
  REQUIRE(TIFFWriteDirectory(tiff) == 1);
}

void write_tiff(const fs::path& path, int width, int height, const Layout& layout, int levels = 1) {
  const std::unique_ptr<TIFF, decltype(&TIFFClose)> tiff(TIFFOpen(path.c_str(), layout.mode), TIFFClose);
  REQUIRE(tiff != nullptr);
  for (int level = 0; level < levels; ++level)
    write_page(tiff.get(), width >> level, height >> level, layout, level > 0);
}

void check_pixels(RegionReader& reader, int x, int y, int width, int height, int channels) {
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(height * (3 * width + 5)), 0xEE);
  reader.read(x, y, width, height, pixels.data(), 3 * width + 5);
  bool are_right = true, are_kept = true;
  for (int v = 0; v < height; ++v) {
    const std::uint8_t* row = pixels.data() + v * (3 * width + 5);
    for (int u = 0; u < width; ++u) {
      for (int c = 0; c < 3; ++c) are_right &= row[3 * u + c] == value_at(x + u, y + v, channels == 1 ? 0 : c);
    }
    for (int i = 0; i < 5; ++i) are_kept &= row[3 * width + i] == 0xEE;
  }
  CHECK(are_right);
  CHECK(are_kept);
}

TEST_CASE("TIFFs are read part by part, whatever their layout") {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "scan.tif";
  constexpr int kWidth = 301, kHeight = 197;
  for (const Layout& layout : {Layout{}, Layout{"w8", 64}, Layout{"w", 48, COMPRESSION_LZW},
                               Layout{"wb", 0, COMPRESSION_ADOBE_DEFLATE, 1}, Layout{"wb8", 32, COMPRESSION_NONE, 4},
                               Layout{"w", 16, COMPRESSION_NONE, 3, 16}, Layout{"w", 0, COMPRESSION_LZW, 4}}) {
    CAPTURE(layout.mode);
    CAPTURE(layout.tile);
    CAPTURE(layout.channels);
    write_tiff(path, kWidth, kHeight, layout);
    const Scan scan = open_scan(path, 1.0);
    REQUIRE(scan.reader != nullptr);
    CHECK((scan.width == kWidth && scan.height == kHeight));
    CHECK(scan.format == "TIFF");
    check_pixels(*scan.reader, 0, 0, kWidth, kHeight, layout.channels);
    check_pixels(*scan.reader, 63, 5, 100, 120, layout.channels);
    check_pixels(*scan.reader, 300, 196, 1, 1, layout.channels);
    const auto clone = scan.reader->clone();
    REQUIRE(clone != nullptr);
    check_pixels(*clone, 17, 100, 200, 97, layout.channels);
  }
}

TEST_CASE("the level of a pyramid is the smallest that is fine enough") {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "pyramid.tif";
  write_tiff(path, 1600, 800, {"w", 64}, 3);
  for (const auto& open : {open_scan, open_tiff}) {
    for (const auto& [scale, width] :
         {std::pair{1.0, 1600}, {0.6, 1600}, {0.5, 800}, {0.3, 800}, {0.25, 400}, {0.01, 400}}) {
      const Scan scan = open(path, scale);
      REQUIRE(scan.reader != nullptr);
      CHECK(scan.reader->width() == width);
      CHECK(scan.width == 1600);
      CHECK(scan.to_full({{1, 2, 3, 4}, 0.5f, 0}).box.x1 == doctest::Approx(3 * 1600.0 / width));
    }
  }
}

#ifdef VISTAZO_HAS_OPENSLIDE
TEST_CASE("slides are read by OpenSlide, level by level") {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "slide.svs";
  write_tiff(path, 1600, 800, {"w8", 64, COMPRESSION_NONE, 3, 8, "Aperio Image Library v1\n1600x800|AppMag = 20"}, 3);
  const Scan scan = open_scan(path, 1.0);
  REQUIRE(scan.reader != nullptr);
  CHECK(scan.format == "aperio");
  check_pixels(*scan.reader, 0, 0, 1600, 800, 3);
  check_pixels(*scan.reader, 777, 301, 333, 222, 3);
  check_pixels(*scan.reader->clone(), 1599, 799, 1, 1, 3);
  const Scan quarter = open_scan(path, 0.25);
  CHECK(quarter.reader->width() == 400);
  CHECK(quarter.scale_x == doctest::Approx(4));
  check_pixels(*quarter.reader, 31, 7, 300, 190, 3);
}
#endif

TEST_CASE("a damaged TIFF is an error, where it is damaged") {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "scan.tif";
  write_tiff(path, 500, 500, {"w", 64, COMPRESSION_ADOBE_DEFLATE});
  // The directory is behind the pixels: overwrite some of these.
  std::FILE* file = std::fopen(path.c_str(), "r+b");
  REQUIRE(file != nullptr);
  std::fseek(file, 3000, SEEK_SET);
  for (int i = 0; i < 2000; ++i) std::fputc(0, file);
  std::fclose(file);
  const Scan scan = open_tiff(path, 1.0);
  std::vector<std::uint8_t> pixels(3 * 500 * 500);
  CHECK_THROWS_AS(scan.reader->read(0, 0, 500, 500, pixels.data(), 1500), Error);
  fs::resize_file(path, 100);
  CHECK_THROWS_AS(open_tiff(path, 1.0), Error);
  CHECK_THROWS_AS(open_scan(folder.path() / "missing.svs", 1.0), Error);
}

}  // namespace
}  // namespace vistazo::apps

#endif
