#if defined(VISTAZO_HAS_OPENSLIDE) && defined(VISTAZO_HAS_TIFF) && defined(VISTAZO_HAS_JPEG)

#include <doctest/doctest.h>
#include <tiffio.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "apps/commands.h"
#include "apps/outputs/object_writer.h"
#include "apps/scans/scan.h"
#include "tests/support/slide_files.h"
#include "tests/support/temporary_folder.h"

// Slides in the formats of scanners, with JPEGs inside, written here and read back.
namespace vistazo::apps {
namespace {

namespace fs = std::filesystem;
using testing::MrxsFile;
using testing::NdpiFile;
using testing::Pixels;
using testing::TemporaryFolder;

// Squares of 8 x 8 pixels, as JPEG codes them, each of a colour of its own: coded almost without loss.
constexpr int kSquare = 8;

std::uint8_t value_at(int level, int x, int y, int channel) {
  const auto square = static_cast<unsigned>(level * 7919 + x / kSquare * 104729 + y / kSquare * 1299709);
  return static_cast<std::uint8_t>(40 + (square * 2654435761u >> (3 + 8 * channel) & 127));
}

Pixels squares(int level, int left, int top, int width, int height) {
  Pixels pixels{width, height, {}};
  for (int y = top; y < top + height; ++y) {
    for (int x = left; x < left + width; ++x) {
      for (int c = 0; c < 3; ++c) pixels.rgb.push_back(value_at(level, x, y, c));
    }
  }
  return pixels;
}

// Y, Cb and Cr are each rounded twice, as pixels and as coefficients: off by one at most, and blue has 1.77 times Cb.
constexpr int kJpegError = 3;

// The largest distance of a part to the squares of a level, where is_there(x, y). left, top: where the reader's image
// lies among the squares.
template <typename IsThere>
int farthest(RegionReader& reader, const Rect& part, int level, int left, int top, IsThere&& is_there) {
  const int width = part.right - part.left, height = part.bottom - part.top;
  std::vector<std::uint8_t> pixels(3 * static_cast<std::size_t>(width * height));
  reader.read(part.left, part.top, width, height, pixels.data(), 3 * width);
  int most = 0;
  for (int i = 0; i < width * height; ++i) {
    const int x = left + part.left + i % width, y = top + part.top + i / width;
    if (!is_there(x, y)) continue;
    for (int c = 0; c < 3; ++c) {
      most = std::max(most, std::abs(pixels[static_cast<std::size_t>(3 * i + c)] - value_at(level, x, y, c)));
    }
  }
  return most;
}

void check_level(const fs::path& path, double scale, int level, int width, int height, const std::string& format) {
  CAPTURE(level);
  const Scan scan = open_scan(path, scale);
  REQUIRE(scan.reader != nullptr);
  CHECK(scan.format == format);
  REQUIRE(scan.reader->width() == width);
  REQUIRE(scan.reader->height() == height);
  const auto everywhere = [](int, int) { return true; };
  CHECK(farthest(*scan.reader, {0, 0, width, height}, level, 0, 0, everywhere) <= kJpegError);
  CHECK(farthest(*scan.reader->clone(), {37, 21, width - 5, height - 11}, level, 0, 0, everywhere) <= kJpegError);
  CHECK(farthest(*scan.reader, {0, 0, width, height}, level + 1, 0, 0, everywhere) > 50);  // the check can fail
}

TEST_CASE("NDPI: levels of JPEGs with restart markers, or without") {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "slide.ndpi";
  NdpiFile file;
  file.add_level(squares(0, 0, 0, 1024, 640), 20, 8);  // tiles of 64 x 8 pixels
  file.add_level(squares(1, 0, 0, 512, 320), 10, 16);
  file.add_level(squares(2, 0, 0, 256, 160), 5, 0);
  file.write(path);
  check_level(path, 1.0, 0, 1024, 640, "hamamatsu");
  check_level(path, 0.5, 1, 512, 320, "hamamatsu");
  check_level(path, 0.25, 2, 256, 160, "hamamatsu");
}

// The first column and one tile further in were not scanned.
struct Mrxs {
  static constexpr int kTile = 64, kColumns = 8, kRows = 6;

  static bool is_scanned(int column, int row) { return column > 0 && !(column == 4 && row == 2); }
  static bool is_scanned_at(int x, int y) { return is_scanned(x / kTile, y / kTile); }

  static void write(const fs::path& path) {
    MrxsFile file(kColumns, kRows, kTile);
    for (int level = 0; level < 2; ++level) {
      std::vector<MrxsFile::Tile> tiles;
      for (int row = 0; row < kRows >> level; ++row) {
        for (int column = 0; column < kColumns >> level; ++column) {
          if (level == 0 && !is_scanned(column, row)) continue;
          tiles.push_back({column, row, squares(level, column * kTile, row * kTile, kTile, kTile)});
        }
      }
      file.add_level(tiles);
    }
    file.write(path);
  }
};

TEST_CASE("MRXS: what was scanned, from where it begins, and the background in holes") {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "slide.mrxs";
  Mrxs::write(path);
  const Scan scan = open_scan(path, 1.0);
  REQUIRE(scan.reader != nullptr);
  CHECK(scan.format == "mirax");
  CHECK((scan.width == 512 && scan.height == 384));
  CHECK((scan.left == 64 && scan.top == 0));
  CHECK((scan.reader->width() == 448 && scan.reader->height() == 384));
  CHECK(farthest(*scan.reader, {0, 0, 448, 384}, 0, 64, 0, Mrxs::is_scanned_at) <= kJpegError);
  CHECK(farthest(*scan.reader, {33, 5, 333, 255}, 0, 64, 0, Mrxs::is_scanned_at) <= kJpegError);
  CHECK(farthest(*scan.reader, {0, 0, 448, 384}, 0, 48, 0, Mrxs::is_scanned_at) > 50);
  std::vector<std::uint8_t> hole(3 * 62 * 62);
  scan.reader->read(4 * 64 + 1 - scan.left, 2 * 64 + 1, 62, 62, hole.data(), 3 * 62);
  CHECK(std::ranges::count(hole, 50) == static_cast<std::ptrdiff_t>(hole.size()));
  CHECK(scan.to_full({{0, 0, 10, 10}, 0.5f, 0}).box.x0 == 64);

  const Scan half = open_scan(path, 0.5);
  CHECK(half.scale_x == doctest::Approx(2));
  REQUIRE(half.reader->width() == 224);
  CHECK(farthest(*half.reader, {0, 0, 224, 192}, 1, 32, 0, [](int, int) { return true; }) <= kJpegError);
}

void write_jpeg_tiff(const fs::path& path, const char* mode, const char* description) {
  constexpr int kTile = 128;
  const std::unique_ptr<TIFF, decltype(&TIFFClose)> tiff(TIFFOpen(path.c_str(), mode), TIFFClose);
  REQUIRE(tiff != nullptr);
  for (int level = 0; level < 3; ++level) {
    const int width = 1024 >> level, height = 640 >> level;
    for (const auto& [tag, value] : {std::pair{TIFFTAG_IMAGEWIDTH, width},
                                     {TIFFTAG_IMAGELENGTH, height},
                                     {TIFFTAG_BITSPERSAMPLE, 8},
                                     {TIFFTAG_SAMPLESPERPIXEL, 3},
                                     {TIFFTAG_TILEWIDTH, kTile},
                                     {TIFFTAG_TILELENGTH, kTile},
                                     {TIFFTAG_COMPRESSION, COMPRESSION_JPEG},
                                     {TIFFTAG_JPEGQUALITY, 100},
                                     {TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_YCBCR},
                                     {TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB},
                                     {TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG},
                                     {TIFFTAG_SUBFILETYPE, level > 0 ? FILETYPE_REDUCEDIMAGE : 0}}) {
      REQUIRE(TIFFSetField(tiff.get(), static_cast<std::uint32_t>(tag), value) == 1);
    }
    REQUIRE(TIFFSetField(tiff.get(), TIFFTAG_YCBCRSUBSAMPLING, 1, 1) == 1);
    if (description) TIFFSetField(tiff.get(), TIFFTAG_IMAGEDESCRIPTION, description);
    for (int y = 0; y < height; y += kTile) {
      for (int x = 0; x < width; x += kTile) {
        Pixels tile = squares(level, x, y, kTile, kTile);
        const auto number =
            TIFFComputeTile(tiff.get(), static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(y), 0, 0);
        REQUIRE(TIFFWriteEncodedTile(tiff.get(), number, tile.rgb.data(), 3 * kTile * kTile) > 0);
      }
    }
    REQUIRE(TIFFWriteDirectory(tiff.get()) == 1);
  }
}

TEST_CASE("SVS and pyramids of JPEG tiles, TIFF and BigTIFF") {
  const TemporaryFolder folder;
  const char* aperio = "Aperio Image Library v11.2.1\n1024x640 (128x128) JPEG/RGB Q=100|AppMag = 20|MPP = 0.5";
  struct Kind {
    const char *name, *mode, *description, *format;
  };
  for (const Kind& kind : {Kind{"a.svs", "w", aperio, "aperio"},
                           {"big.svs", "w8", aperio, "aperio"},
                           {"a.tif", "w", nullptr, "TIFF"},
                           {"big.tif", "w8", nullptr, "TIFF"}}) {
    CAPTURE(kind.name);
    const fs::path path = folder.path() / kind.name;
    write_jpeg_tiff(path, kind.mode, kind.description);
    check_level(path, 1.0, 0, 1024, 640, kind.format);
    check_level(path, 0.5, 1, 512, 320, kind.format);
    check_level(path, 0.25, 2, 256, 160, kind.format);
  }
}

void write_flat_tiff(const fs::path& path, int width, int height, std::vector<std::uint8_t>& rgb) {
  const std::unique_ptr<TIFF, decltype(&TIFFClose)> tiff(TIFFOpen(path.c_str(), "w"), TIFFClose);
  REQUIRE(tiff != nullptr);
  TIFFSetField(tiff.get(), TIFFTAG_IMAGEWIDTH, width);
  TIFFSetField(tiff.get(), TIFFTAG_IMAGELENGTH, height);
  TIFFSetField(tiff.get(), TIFFTAG_BITSPERSAMPLE, 8);
  TIFFSetField(tiff.get(), TIFFTAG_SAMPLESPERPIXEL, 3);
  TIFFSetField(tiff.get(), TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB);
  TIFFSetField(tiff.get(), TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  TIFFSetField(tiff.get(), TIFFTAG_ROWSPERSTRIP, height);
  REQUIRE(TIFFWriteEncodedStrip(tiff.get(), 0, rgb.data(), static_cast<tmsize_t>(rgb.size())) > 0);
}

// What `vistazo tile` finds in each window, in pixels of the window.
std::vector<std::string> windows_of(const fs::path& scan, const fs::path& json) {
  CLI::App app;
  Run run;
  add_tile_command(app, run);
  const std::string model = std::string(VISTAZO_TEST_DATA) + "/models/w2_huggingface";
  std::vector<std::string> arguments = {
      "tile",     scan.string(), "--json",      json.string(), "--model",          model, "--device", "cpu",
      "--window", "64",          "--min-score", "0.2",         "--max-detections", "5"};
  std::ranges::reverse(arguments);  // as CLI11 takes them
  app.parse(arguments);
  REQUIRE(run() == kAllWell);
  std::vector<std::string> windows;
  std::ifstream stream(json);
  for (std::string line; std::getline(stream, line);) {
    if (line.find("\"detections\"") != std::string::npos) windows.push_back(line);
  }
  return windows;
}

TEST_CASE("vistazo tile finds in slides what it finds in their pixels") {
  const TemporaryFolder folder;
  const fs::path ndpi = folder.path() / "a.ndpi", mrxs = folder.path() / "b.mrxs", flat = folder.path() / "c.tif";
  NdpiFile file;
  file.add_level(squares(0, 0, 0, 512, 320), 20, 8);
  file.write(ndpi);
  Mrxs::write(mrxs);
  for (const fs::path& slide : {ndpi, mrxs}) {
    CAPTURE(slide.string());
    const Scan scan = open_scan(slide, 1.0);
    const int width = scan.reader->width(), height = scan.reader->height();
    std::vector<std::uint8_t> pixels(3 * static_cast<std::size_t>(width * height));
    scan.reader->read(0, 0, width, height, pixels.data(), 3 * width);
    write_flat_tiff(flat, width, height, pixels);
    const auto windows = windows_of(slide, folder.path() / "slide.jsonl");
    CHECK(windows.size() > 50);
    CHECK(windows == windows_of(flat, folder.path() / "flat.jsonl"));
  }
}

}  // namespace
}  // namespace vistazo::apps

#endif
