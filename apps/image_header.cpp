#include "apps/image_header.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

namespace vistazo::apps {
namespace {

using Bytes = std::span<const std::uint8_t>;

bool has_text(Bytes file, std::size_t offset, std::string_view text) {
  return offset <= file.size() && file.size() - offset >= text.size() &&
         std::memcmp(file.data() + offset, text.data(), text.size()) == 0;
}

// An unsigned integer of `size` bytes; nothing where the file ends before it does.
std::optional<std::uint32_t> read_integer(Bytes file, std::size_t offset, int size, bool is_little_endian) {
  if (offset > file.size() || file.size() - offset < static_cast<std::size_t>(size)) return {};
  std::uint32_t value = 0;
  for (int i = 0; i < size; ++i) {
    value = (value << 8) | file[offset + static_cast<std::size_t>(is_little_endian ? size - 1 - i : i)];
  }
  return value;
}

std::uint32_t big_endian(Bytes file, std::size_t offset, int size) {
  return read_integer(file, offset, size, false).value_or(0);
}

std::uint32_t little_endian(Bytes file, std::size_t offset, int size) {
  return read_integer(file, offset, size, true).value_or(0);
}

// Offset of the marker byte (behind 0xff) that follows the entropy-coded data at `offset`, or the end of the file.
std::size_t end_of_scan(Bytes file, std::size_t offset) {
  while (offset < file.size()) {
    const void* found = std::memchr(file.data() + offset, 0xff, file.size() - offset);
    if (!found) break;
    offset = static_cast<std::size_t>(static_cast<const std::uint8_t*>(found) - file.data()) + 1;
    while (offset < file.size() && file[offset] == 0xff) ++offset;  // fill bytes
    if (offset == file.size()) break;
    const int code = file[offset];
    const bool is_data = code == 0 || (code >= 0xd0 && code <= 0xd7);  // a stuffed 0xff or a restart marker
    if (!is_data) return offset;
  }
  return file.size();
}

// Walks the markers (ITU-T T.81, annex B) up to the end marker.
void read_jpeg(Bytes file, ImageHeader& header) {
  header.is_complete = false;
  std::size_t offset = 2;
  while ((offset = end_of_scan(file, offset)) < file.size()) {
    const int code = file[offset++];
    if (code == 0xd9) {
      header.is_complete = true;
      return;
    }
    if (code == 0x01 || code == 0xd8) continue;  // markers without a segment
    const bool is_frame = code >= 0xc0 && code <= 0xcf && code != 0xc4 && code != 0xc8 && code != 0xcc;
    if (is_frame && header.width == 0) {
      header.height = big_endian(file, offset + 3, 2);
      header.width = big_endian(file, offset + 5, 2);
    }
    offset += std::max(2u, big_endian(file, offset, 2));
  }
}

struct TiffField {
  std::size_t value_offset;
  int value_size;  // of one value, bytes
};

// A field of the first directory of a (classic) TIFF stream that holds one short or long integer.
std::optional<TiffField> find_field(Bytes tiff, std::uint32_t tag) {
  const bool is_little = has_text(tiff, 0, std::string_view("II*\0", 4));
  if (!is_little && !has_text(tiff, 0, std::string_view("MM\0*", 4))) return {};
  const std::size_t directory = read_integer(tiff, 4, 4, is_little).value_or(0);
  const std::uint32_t fields = read_integer(tiff, directory, 2, is_little).value_or(0);
  for (std::uint32_t i = 0; i < fields; ++i) {
    const std::size_t field = directory + 2 + std::size_t{12} * i;
    const auto found = read_integer(tiff, field, 2, is_little);
    if (!found) return {};
    if (*found != tag) continue;
    const auto type = read_integer(tiff, field + 2, 2, is_little).value_or(0);
    const bool is_short = type == 3, is_long = type == 4;
    if (!is_short && !is_long) return {};
    const auto count = read_integer(tiff, field + 4, 4, is_little).value_or(0);
    const bool is_inside = count * (is_short ? 2u : 4u) <= 4;
    const std::size_t value = is_inside ? field + 8 : read_integer(tiff, field + 8, 4, is_little).value_or(0);
    return TiffField{value, is_short ? 2 : 4};
  }
  return {};
}

std::uint32_t field_value(Bytes tiff, std::uint32_t tag, std::uint32_t fallback) {
  const auto field = find_field(tiff, tag);
  if (!field) return fallback;
  return read_integer(tiff, field->value_offset, field->value_size, tiff[0] == 'I').value_or(fallback);
}

// TIFF 6.0 tags.
constexpr std::uint32_t kImageWidth = 256, kImageLength = 257, kBitsPerSample = 258, kOrientation = 274,
                        kExtraSamples = 338;

void read_tiff(Bytes file, ImageHeader& header) {
  header.width = field_value(file, kImageWidth, 0);
  header.height = field_value(file, kImageLength, 0);
  header.bytes_per_channel = field_value(file, kBitsPerSample, 8) > 8 ? 2 : 1;
  header.is_lossless = true;
}

void read_png(Bytes file, ImageHeader& header) {
  header.width = big_endian(file, 16, 4);
  header.height = big_endian(file, 20, 4);
  header.bytes_per_channel = big_endian(file, 24, 1) > 8 ? 2 : 1;
  header.is_lossless = true;
}

// The chunks of the RIFF container (RFC 9649): a lossless bitstream and the Exif orientation.
void read_webp(Bytes file, ImageHeader& header) {
  std::size_t offset = 12;
  while (offset + 8 <= file.size()) {
    const std::size_t size = little_endian(file, offset + 4, 4);
    if (has_text(file, offset, "VP8L")) header.is_lossless = true;
    if (has_text(file, offset, "EXIF")) {
      Bytes exif = file.subspan(offset + 8, std::min(size, file.size() - offset - 8));
      if (has_text(exif, 0, "Exif")) exif = exif.subspan(std::min<std::size_t>(6, exif.size()));  // JPEG's prefix
      header.orientation = static_cast<int>(field_value(exif, kOrientation, 1));
    }
    offset += 8 + size + size % 2;
  }
}

}  // namespace

ImageHeader read_image_header(Bytes file) {
  ImageHeader header;
  if (has_text(file, 0, "\xff\xd8\xff")) {
    header.kind = ImageKind::jpeg;
    read_jpeg(file, header);
  } else if (has_text(file, 0, "\x89PNG\r\n\x1a\n")) {
    header.kind = ImageKind::png;
    read_png(file, header);
  } else if (has_text(file, 0, std::string_view("II*\0", 4)) || has_text(file, 0, std::string_view("MM\0*", 4)) ||
             has_text(file, 0, std::string_view("II+\0", 4)) || has_text(file, 0, std::string_view("MM\0+", 4))) {
    header.kind = ImageKind::tiff;
    read_tiff(file, header);
  } else if (has_text(file, 0, "RIFF") && has_text(file, 8, "WEBP")) {
    header.kind = ImageKind::webp;
    read_webp(file, header);
  } else if (has_text(file, 0, "BM")) {
    header.kind = ImageKind::bmp;
    header.is_lossless = true;
  }
  return header;
}

void keep_tiff_colours(std::span<std::uint8_t> file) {
  constexpr std::uint32_t kAssociated = 1, kUnassociated = 2;
  if (field_value(file, kExtraSamples, 0) != kUnassociated) return;
  const auto field = find_field(file, kExtraSamples);
  const std::size_t last = static_cast<std::size_t>(field->value_size) - 1;
  file[field->value_offset + (file[0] == 'I' ? 0 : last)] = kAssociated;
}

}  // namespace vistazo::apps
