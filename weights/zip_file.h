#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vistazo {

struct ZipEntry {
  std::string_view name;            // in the file; may hold any bytes
  std::span<const std::byte> data;  // as stored
  std::uint64_t size = 0;           // of the content; that of `data` unless is_deflated
  std::uint32_t crc = 0;            // of the content
  bool is_deflated = false;
};

// The entries of a ZIP archive (PKWARE's APPNOTE 6.3, zip64 included), sorted by name; names and data point into
// `file`. Sizes come from the central directory, so that entries written as a stream, their sizes behind the data, are
// read too. Throws Error{file}, its message starting with `source`, for an archive that is cut short or in several
// parts, for entries that overlap, appear twice, are encrypted or packed otherwise than by deflate.
std::vector<ZipEntry> parse_zip(std::span<const std::byte> file, const std::string& source);

// The content of a deflated entry. It must have the size and the checksum that the archive says; the caller has decided
// that the size is bearable. Throws Error{file}.
std::vector<std::byte> inflate_entry(const ZipEntry& entry, const std::string& source);

}  // namespace vistazo
