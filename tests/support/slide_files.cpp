#include "tests/support/slide_files.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
// Behind cstdio, whose FILE it takes for granted.
#include <jpeglib.h>

namespace vistazo::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSlideId = "0123456789abcdef0123456789abcdef";

// Appends numbers, the lowest byte first.
template <typename Number>
void append(Bytes& bytes, Number value) {
  for (std::size_t i = 0; i < sizeof(Number); ++i) bytes.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

void append(Bytes& bytes, const Bytes& more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

void append(Bytes& bytes, const std::string& text) {
  for (const char c : text) bytes.push_back(static_cast<std::uint8_t>(c));
}

std::uint32_t size_of(const Bytes& bytes) {
  return static_cast<std::uint32_t>(bytes.size());
}

void write_bytes(const fs::path& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

// Where the data of each restart interval begins in a JPEG, the first one behind its header.
std::vector<std::uint32_t> interval_starts(const Bytes& jpeg) {
  std::vector<std::uint32_t> starts;
  for (std::size_t i = 0; i + 3 < jpeg.size(); ++i) {
    if (jpeg[i] != 0xff) continue;
    const int marker = jpeg[i + 1];
    if (starts.empty() && marker == 0xda) {  // start of scan: its header follows
      i += 1 + static_cast<std::size_t>(jpeg[i + 2] << 8 | jpeg[i + 3]);
      starts.push_back(static_cast<std::uint32_t>(i + 1));
    } else if (!starts.empty() && marker >= 0xd0 && marker <= 0xd7) {
      starts.push_back(static_cast<std::uint32_t>(i + 2));
    }
  }
  return starts;
}

}  // namespace

Bytes jpeg_of(const Pixels& pixels, int restart_interval) {
  jpeg_compress_struct coder;
  jpeg_error_mgr errors;
  coder.err = jpeg_std_error(&errors);  // ends the program: no error is expected
  jpeg_create_compress(&coder);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&coder, &memory, &size);
  coder.image_width = static_cast<JDIMENSION>(pixels.width);
  coder.image_height = static_cast<JDIMENSION>(pixels.height);
  coder.input_components = 3;
  coder.in_color_space = JCS_RGB;
  jpeg_set_defaults(&coder);
  jpeg_set_quality(&coder, 100, TRUE);
  coder.comp_info[0].h_samp_factor = coder.comp_info[0].v_samp_factor = 1;
  coder.restart_interval = static_cast<unsigned>(restart_interval);
  jpeg_start_compress(&coder, TRUE);
  for (int y = 0; y < pixels.height; ++y) {
    auto* row = const_cast<JSAMPROW>(pixels.rgb.data()) + 3 * static_cast<std::ptrdiff_t>(y) * pixels.width;
    jpeg_write_scanlines(&coder, &row, 1);
  }
  jpeg_finish_compress(&coder);
  jpeg_destroy_compress(&coder);
  Bytes bytes(memory, memory + size);
  std::free(memory);
  return bytes;
}

NdpiFile::NdpiFile() : bytes_{'I', 'I', 42, 0} {
  link_ = bytes_.size();
  append(bytes_, std::uint64_t{0});
}

void NdpiFile::add_level(const Pixels& pixels, float magnification, int restart_interval) {
  constexpr std::uint16_t kShort = 3, kLong = 4, kSignedLong = 9, kFloat = 11;
  struct Entry {
    std::uint16_t tag, type;
    std::uint32_t count, value;
  };
  const Bytes jpeg = jpeg_of(pixels, restart_interval);
  const std::vector<std::uint32_t> starts = interval_starts(jpeg);
  const std::uint32_t jpeg_at = size_of(bytes_);
  append(bytes_, jpeg);
  const std::uint32_t starts_at = size_of(bytes_);
  for (const std::uint32_t start : starts) append(bytes_, start);
  std::uint32_t lens = 0;
  std::memcpy(&lens, &magnification, sizeof lens);
  const auto width = static_cast<std::uint32_t>(pixels.width), height = static_cast<std::uint32_t>(pixels.height);
  std::vector<Entry> entries = {
      {256, kLong, 1, width},   {257, kLong, 1, height},   {259, kShort, 1, 7},  // JPEG
      {262, kShort, 1, 6},                                                       // YCbCr
      {273, kLong, 1, jpeg_at}, {277, kShort, 1, 3},       {278, kLong, 1, height}, {279, kLong, 1, size_of(jpeg)},
      {65420, kLong, 1, 1},                                   // an NDPI
      {65421, kFloat, 1, lens}, {65424, kSignedLong, 1, 0}};  // focal plane
  if (starts.size() > 1) entries.push_back({65426, kLong, static_cast<std::uint32_t>(starts.size()), starts_at});
  const std::uint32_t here = size_of(bytes_);
  for (std::size_t i = 0; i < 4; ++i) bytes_[link_ + i] = static_cast<std::uint8_t>(here >> (8 * i));
  append(bytes_, static_cast<std::uint16_t>(entries.size()));
  for (const Entry& e : entries) {
    append(bytes_, e.tag);
    append(bytes_, e.type);
    append(bytes_, e.count);
    append(bytes_, e.value);
  }
  link_ = bytes_.size();
  append(bytes_, std::uint64_t{0});
}

void NdpiFile::write(const fs::path& path) const {
  write_bytes(path, bytes_);
}

void MrxsFile::write(const fs::path& path) const {
  const fs::path folder = path.parent_path() / path.stem();
  fs::create_directories(folder);
  write_bytes(path, {});
  std::ofstream(folder / "Slidedat.ini") << description();
  Bytes index, data;
  append(index, std::string("01.02") + kSlideId);
  append(index, size_of(index) + 8);  // the list of levels; behind it that of other data, of which there is none
  append(index, std::uint32_t{0});
  std::uint32_t pages = size_of(index) + 4 * static_cast<std::uint32_t>(levels_.size());
  for (const auto& level : levels_) {
    append(index, pages);
    pages += 16 + 16 * static_cast<std::uint32_t>(level.size());
  }
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    append(index, std::uint32_t{0});
    append(index, size_of(index) + 4);
    append(index, static_cast<std::uint32_t>(levels_[i].size()));
    append(index, std::uint32_t{0});  // no further page
    for (const Tile& tile : levels_[i]) {
      const Bytes jpeg = jpeg_of(tile.pixels);
      append(index, static_cast<std::uint32_t>((tile.row * columns_ + tile.column) << i));
      append(index, size_of(data));
      append(index, size_of(jpeg));
      append(index, std::uint32_t{0});  // the only data file
      append(data, jpeg);
    }
  }
  write_bytes(folder / "Index.dat", index);
  write_bytes(folder / "Data0000.dat", data);
}

std::string MrxsFile::description() const {
  const auto number = [](auto value) { return std::to_string(value); };
  std::string text = "[GENERAL]\nSLIDE_VERSION = 01.02\nSLIDE_ID = " + std::string(kSlideId) +
                     "\nIMAGENUMBER_X = " + number(columns_) + "\nIMAGENUMBER_Y = " + number(rows_) +
                     "\nOBJECTIVE_MAGNIFICATION = 20\n[HIERARCHICAL]\nHIER_COUNT = 1\nNONHIER_COUNT = 0\n"
                     "INDEXFILE = Index.dat\nHIER_0_NAME = Slide zoom level\nHIER_0_COUNT = " +
                     number(levels_.size()) + "\n";
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    text += "HIER_0_VAL_" + number(i) + "_SECTION = LEVEL_" + number(i) + "\n";
  }
  constexpr int kBackground = 50 << 16 | 50 << 8 | 50;
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    text += "[LEVEL_" + number(i) + "]\nIMAGE_CONCAT_FACTOR = " + (i == 0 ? "0" : "1") +
            "\nOVERLAP_X = 0\nOVERLAP_Y = 0\nMICROMETER_PER_PIXEL_X = 0.5\nMICROMETER_PER_PIXEL_Y = 0.5\n"
            "IMAGE_FILL_COLOR_BGR = " +
            number(kBackground) + "\nIMAGE_FORMAT = JPEG\nDIGITIZER_WIDTH = " + number(tile_) +
            "\nDIGITIZER_HEIGHT = " + number(tile_) + "\n";
  }
  return text + "[DATAFILE]\nFILE_COUNT = 1\nFILE_0 = Data0000.dat\n";
}

}  // namespace vistazo::testing
