#include "apps/image_io.h"

#include <doctest/doctest.h>
#include <vistazo/error.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "apps/image_header.h"
#include "apps/memory.h"

#ifdef VISTAZO_HAS_OPENCV

using namespace vistazo;
using namespace vistazo::apps;

namespace {

const std::string kImages = VISTAZO_TEST_DATA "/images/";

nlohmann::json expectations() {
  std::ifstream stream(kImages + "expected.json");
  return nlohmann::json::parse(stream);
}

std::vector<std::uint8_t> bytes_of(const std::string& name) {
  std::ifstream stream(kImages + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::array<int, 3> rgb_at(const Picture& picture, int x, int y) {
  const std::uint8_t* bgr = picture.pixels.get() + y * picture.row_bytes + 3 * x;
  return {bgr[2], bgr[1], bgr[0]};
}

std::array<double, 3> mean_rgb(const Picture& picture) {
  std::array<double, 3> sum = {};
  for (int y = 0; y < picture.height; ++y) {
    for (int x = 0; x < picture.width; ++x) {
      const auto rgb = rgb_at(picture, x, y);
      for (std::size_t c = 0; c < 3; ++c) sum[c] += rgb[c];
    }
  }
  for (double& value : sum) value /= static_cast<double>(picture.width) * picture.height;
  return sum;
}

std::filesystem::path temporary(const std::string& name) {
  return std::filesystem::temp_directory_path() / name;
}

}  // namespace

TEST_CASE("images of all formats decode to the expected pixels") {
  const nlohmann::json all = expectations();
  for (const auto& item : all.items()) {
    const std::string& name = item.key();
    const nlohmann::json& expected = item.value();
    if (!expected["decodes"]) continue;
    CAPTURE(name);
    const Picture picture = read_picture(kImages + name);
    CHECK(picture.width == expected["width"]);
    CHECK(picture.height == expected["height"]);
    if (picture.width != expected["width"] || picture.height != expected["height"]) continue;
    // Decoders of lossy formats may differ by the rounding of a colour conversion, which averages out.
    const double tolerance = expected["tolerance"], mean_tolerance = tolerance > 0 ? 1.5 : 1e-3;
    const auto mean = mean_rgb(picture);
    for (std::size_t c = 0; c < 3; ++c)
      CHECK(std::abs(mean[c] - expected["mean_rgb"][c].get<double>()) < mean_tolerance);
    for (const auto& sample : expected["samples"]) {
      const auto rgb = rgb_at(picture, sample["x"], sample["y"]);
      for (std::size_t c = 0; c < 3; ++c) CHECK(std::abs(rgb[c] - sample["rgb"][c].get<int>()) <= tolerance);
    }
  }
}

TEST_CASE("damaged, truncated and foreign files are errors of code file") {
  const nlohmann::json all = expectations();
  for (const auto& item : all.items()) {
    const std::string& name = item.key();
    const nlohmann::json& expected = item.value();
    if (expected["decodes"]) continue;
    CAPTURE(name);
    try {
      (void)read_picture(kImages + name);
      FAIL("no exception");
    } catch (const Error& e) {
      CHECK(e.code == Error::Code::file);
      CHECK(std::string(e.what()).size() > 5);
      CHECK(std::string(e.what()).find('\n') == std::string::npos);
    }
  }
  CHECK_THROWS_AS(read_picture(kImages + "missing.png"), Error);
  CHECK_THROWS_AS(read_picture(kImages), Error);
}

TEST_CASE("no prefix of a file crashes the header reader or reads past its end") {
  const nlohmann::json all = expectations();
  for (const auto& item : all.items()) {
    const std::string& name = item.key();
    const std::vector<std::uint8_t> whole = bytes_of(name);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      std::vector<std::uint8_t> prefix(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      prefix.shrink_to_fit();  // exactly as long, so that a sanitizer notices
      const ImageHeader header = read_image_header(prefix);
      if (header.kind == ImageKind::jpeg && name == "rgb.jpg") CHECK_FALSE(header.is_complete);
      keep_tiff_colours(prefix);
    }
  }
}

TEST_CASE("random damage does not crash the header reader") {
  std::mt19937 generator(1);
  for (const char* name : {"rgb.jpg", "rgba.tiff", "rgb16.tiff", "exif_orientation_6.webp", "rgba.png"}) {
    const std::vector<std::uint8_t> whole = bytes_of(name);
    for (int i = 0; i < 2000; ++i) {
      std::vector<std::uint8_t> damaged = whole;
      for (int k = 0; k < 8; ++k) damaged[generator() % damaged.size()] = static_cast<std::uint8_t>(generator());
      (void)read_image_header(damaged);
      keep_tiff_colours(damaged);
    }
  }
}

TEST_CASE("headers tell sizes, kinds and how files were stored") {
  const auto header_of = [](const char* name) { return read_image_header(bytes_of(name)); };
  for (const char* name : {"rgb.jpg", "rgb_420_progressive.jpg", "exif_orientation_6.jpg", "rgba.png", "lzw.tiff"}) {
    CAPTURE(name);
    CHECK(header_of(name).width == 48);
    CHECK(header_of(name).height == 36);
  }
  CHECK(header_of("rgb.jpg").kind == ImageKind::jpeg);
  CHECK(header_of("rgb.jpg").is_complete);
  CHECK_FALSE(header_of("rgb.jpg").is_lossless);
  CHECK(header_of("lossless.webp").is_lossless);
  CHECK(header_of("exif_orientation_6.webp").orientation == 6);
  CHECK(header_of("rgb16.tiff").bytes_per_channel == 2);
  CHECK(header_of("grey16.png").bytes_per_channel == 2);
  CHECK(header_of("text.jpg").kind == ImageKind::unknown);
}

TEST_CASE("bytes behind the end of a JPEG do not make it truncated, its end inside a comment does not complete it") {
  std::vector<std::uint8_t> file = bytes_of("rgb.jpg");
  file.insert(file.end(), {0, 1, 2, 3});
  CHECK(read_image_header(file).is_complete);
  std::vector<std::uint8_t> cut = bytes_of("truncated.jpg");
  const std::vector<std::uint8_t> comment = {0xff, 0xfe, 0, 4, 0xff, 0xd9};
  cut.insert(cut.begin() + 2, comment.begin(), comment.end());
  CHECK_FALSE(read_image_header(cut).is_complete);
}

TEST_CASE("a written picture is read back: PNG exactly, JPEG closely") {
  const Picture picture = read_picture(kImages + "rgba.png");
  for (const char* extension : {".png", ".jpg"}) {
    CAPTURE(extension);
    const auto path = temporary(std::string("vistazo_image_io_test") + extension);
    write_picture(path, picture);
    const Picture again = read_picture(path);
    CHECK(again.width == picture.width);
    const auto before = mean_rgb(picture), after = mean_rgb(again);
    const double tolerance = std::string(extension) == ".png" ? 0.0 : 2.0;
    for (std::size_t c = 0; c < 3; ++c) CHECK(std::abs(before[c] - after[c]) <= tolerance);
    std::filesystem::remove(path);
  }
  CHECK_THROWS_AS(write_picture("no/such/folder/a.png", picture), Error);
}

TEST_CASE("memory figures are plausible") {
  CHECK(available_memory_bytes() > 1e6);
  const ProcessMemory memory = process_memory();
  CHECK(memory.resident_bytes > 100'000);
  CHECK(memory.peak_resident_bytes >= memory.resident_bytes / 2);
}

#endif
