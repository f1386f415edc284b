#include "weights/zip_file.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "kernels/base/error.h"
#include "weights/printable.h"

namespace vistazo {
namespace {

constexpr std::uint32_t kLocalSignature = 0x04034b50, kCentralSignature = 0x02014b50, kEndSignature = 0x06054b50,
                        kLocatorSignature = 0x07064b50, kEnd64Signature = 0x06064b50;
constexpr std::size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kLocatorBytes = 20, kEnd64Bytes = 56;
constexpr std::size_t kLongestComment = 0xffff;
constexpr std::uint64_t kMostEntries = 1'000'000;
constexpr std::uint16_t kStored = 0, kDeflated = 8;
constexpr std::uint16_t kZip64Field = 1;

// Little-endian; the caller has checked that it is inside.
template <typename Integer>
Integer read(std::span<const std::byte> bytes, std::uint64_t offset) {
  Integer value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

std::string_view text_at(std::span<const std::byte> bytes, std::uint64_t offset, std::size_t length) {
  return {reinterpret_cast<const char*>(bytes.data()) + offset, length};
}

struct Directory {
  std::uint64_t offset = 0, bytes = 0, entries = 0;
};

// The last record of an archive, behind which only a comment may follow.
std::optional<std::uint64_t> find_end(std::span<const std::byte> file) {
  if (file.size() < kEndBytes) return {};
  const std::uint64_t last = file.size() - kEndBytes;
  const std::uint64_t first = last > kLongestComment ? last - kLongestComment : 0;
  for (std::uint64_t at = last + 1; at-- > first;) {
    if (read<std::uint32_t>(file, at) != kEndSignature) continue;
    if (at + kEndBytes + read<std::uint16_t>(file, at + 20) == file.size()) return at;
  }
  return {};
}

// Larger archives have the same record in 64 bits before it.
void read_end64(std::span<const std::byte> file, const std::string& source, std::uint64_t end, Directory& directory) {
  if (end < kLocatorBytes || read<std::uint32_t>(file, end - kLocatorBytes) != kLocatorSignature) return;
  const auto at = read<std::uint64_t>(file, end - kLocatorBytes + 8);
  if (at > end || end - at < kEnd64Bytes || read<std::uint32_t>(file, at) != kEnd64Signature) {
    fail(Error::Code::file, "{}: the archive's 64-bit end record is not where its locator says", source);
  }
  directory.entries = read<std::uint64_t>(file, at + 32);
  directory.bytes = read<std::uint64_t>(file, at + 40);
  directory.offset = read<std::uint64_t>(file, at + 48);
}

Directory find_directory(std::span<const std::byte> file, const std::string& source) {
  const std::optional<std::uint64_t> end = find_end(file);
  if (!end) fail(Error::Code::file, "{}: a ZIP archive without its end record; is it cut short?", source);
  if (read<std::uint16_t>(file, *end + 4) != 0 || read<std::uint16_t>(file, *end + 6) != 0) {
    const auto disk = read<std::uint16_t>(file, *end + 4);
    if (disk != 0xffff) fail(Error::Code::file, "{}: is one part of an archive in several", source);
  }
  Directory directory{.offset = read<std::uint32_t>(file, *end + 16),
                      .bytes = read<std::uint32_t>(file, *end + 12),
                      .entries = read<std::uint16_t>(file, *end + 10)};
  read_end64(file, source, *end, directory);
  if (directory.offset > *end || directory.bytes > *end - directory.offset) {
    fail(Error::Code::file, "{}: the archive's directory of {} bytes at {} reaches behind its end; is it cut short?",
         source, directory.bytes, directory.offset);
  }
  if (directory.entries > kMostEntries) {
    fail(Error::Code::file, "{}: an archive of {} entries; at most {} are allowed", source, directory.entries,
         kMostEntries);
  }
  return directory;
}

// What the 32-bit fields of a directory entry cannot hold stands in an extra field, in this order.
bool read_zip64(std::span<const std::byte> extra, std::uint64_t& size, std::uint64_t& packed, std::uint64_t& offset) {
  constexpr std::uint64_t kElsewhere = 0xffffffff;
  if (size != kElsewhere && packed != kElsewhere && offset != kElsewhere) return true;
  while (extra.size() >= 4) {
    const auto id = read<std::uint16_t>(extra, 0), length = read<std::uint16_t>(extra, 2);
    if (length > extra.size() - 4) return false;
    std::span<const std::byte> field = extra.subspan(4, length);
    extra = extra.subspan(4 + std::size_t{length});
    if (id != kZip64Field) continue;
    for (std::uint64_t* value : {&size, &packed, &offset}) {
      if (*value != kElsewhere) continue;
      if (field.size() < 8) return false;
      *value = read<std::uint64_t>(field, 0);
      field = field.subspan(8);
    }
    return true;
  }
  return true;  // a size that happens to be the largest number
}

struct Placed {
  ZipEntry entry;
  std::uint64_t begin = 0, end = 0;  // header and data, in the file
};

// One entry of the directory at its front, which is cut off. data_end: where the directory begins.
Placed read_entry(std::span<const std::byte> file, std::span<const std::byte>& directory, std::uint64_t data_end,
                  const std::string& source) {
  const auto is_short = [&](std::size_t bytes) { return directory.size() < bytes; };
  if (is_short(kCentralBytes) || read<std::uint32_t>(directory, 0) != kCentralSignature) {
    fail(Error::Code::file, "{}: the archive's directory is damaged", source);
  }
  const std::size_t name_bytes = read<std::uint16_t>(directory, 28), extra_bytes = read<std::uint16_t>(directory, 30),
                    comment_bytes = read<std::uint16_t>(directory, 32);
  if (is_short(kCentralBytes + name_bytes + extra_bytes + comment_bytes)) {
    fail(Error::Code::file, "{}: the archive's directory is cut short", source);
  }
  const auto flags = read<std::uint16_t>(directory, 8), method = read<std::uint16_t>(directory, 10);
  std::uint64_t packed = read<std::uint32_t>(directory, 20), size = read<std::uint32_t>(directory, 24),
                offset = read<std::uint32_t>(directory, 42);
  const std::string_view name = text_at(directory, kCentralBytes, name_bytes);
  const auto refuse = [&](std::string_view problem) {
    fail(Error::Code::file, "{}: entry {} {}", source, in_quotes(name), problem);
  };
  if (!read_zip64(directory.subspan(kCentralBytes + name_bytes, extra_bytes), size, packed, offset)) {
    refuse("has a damaged zip64 field");
  }
  if (flags & 1) refuse("is encrypted");
  if (method != kStored && method != kDeflated) refuse("is packed; only deflate is known");
  if (method == kStored && size != packed) refuse("is stored with two different sizes");
  if (offset > data_end || data_end - offset < kLocalBytes) refuse("lies outside the archive; is it cut short?");
  if (read<std::uint32_t>(file, offset) != kLocalSignature || read<std::uint16_t>(file, offset + 8) != method ||
      read<std::uint16_t>(file, offset + 26) != name_bytes) {
    refuse("is not where the archive's directory says");
  }
  const std::uint64_t header = kLocalBytes + name_bytes + read<std::uint16_t>(file, offset + 28);
  if (data_end - offset < header || data_end - offset - header < packed) refuse("reaches into the archive's directory");
  if (text_at(file, offset + kLocalBytes, name_bytes) != name) refuse("has another name in the archive's directory");
  const auto crc = read<std::uint32_t>(directory, 16);
  directory = directory.subspan(kCentralBytes + name_bytes + extra_bytes + comment_bytes);
  return {
      {name, file.subspan(offset + header, packed), size, crc, method == kDeflated}, offset, offset + header + packed};
}

void require_no_overlap(std::vector<Placed>& placed, const std::string& source) {
  std::ranges::sort(placed, {}, &Placed::begin);
  for (std::size_t i = 1; i < placed.size(); ++i) {
    if (placed[i].begin < placed[i - 1].end) {
      fail(Error::Code::file, "{}: entries {} and {} overlap", source, in_quotes(placed[i - 1].entry.name),
           in_quotes(placed[i].entry.name));
    }
  }
}

}  // namespace

std::vector<ZipEntry> parse_zip(std::span<const std::byte> file, const std::string& source) {
  const Directory directory = find_directory(file, source);
  std::span<const std::byte> rest = file.subspan(directory.offset, directory.bytes);
  std::vector<Placed> placed;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    placed.push_back(read_entry(file, rest, directory.offset, source));
  }
  if (!rest.empty()) fail(Error::Code::file, "{}: the archive's directory has more entries than it counts", source);
  require_no_overlap(placed, source);
  std::vector<ZipEntry> entries;
  for (const Placed& p : placed) entries.push_back(p.entry);
  std::ranges::sort(entries, {}, &ZipEntry::name);
  const auto twice = std::ranges::adjacent_find(entries, {}, &ZipEntry::name);
  if (twice != entries.end()) fail(Error::Code::file, "{}: entry {} appears twice", source, in_quotes(twice->name));
  return entries;
}

std::vector<std::byte> inflate_entry(const ZipEntry& entry, const std::string& source) {
  const auto refuse = [&](std::string_view problem) {
    fail(Error::Code::file, "{}: entry {} {}", source, in_quotes(entry.name), problem);
  };
  constexpr std::uint64_t kMost = std::numeric_limits<uInt>::max();  // zlib counts in 32 bits
  if (entry.size > kMost || entry.data.size() > kMost) refuse("is compressed and larger than 4 GiB");
  std::vector<std::byte> content(std::max<std::uint64_t>(entry.size, 1));  // zlib wants a place even for nothing
  z_stream stream{};
  constexpr int kRawDeflate = -MAX_WBITS;
  if (inflateInit2(&stream, kRawDeflate) != Z_OK) throw std::bad_alloc();
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(entry.data.data()));
  stream.avail_in = static_cast<uInt>(entry.data.size());
  stream.next_out = reinterpret_cast<Bytef*>(content.data());
  stream.avail_out = static_cast<uInt>(entry.size);
  const int result = inflate(&stream, Z_FINISH);
  const bool is_whole = result == Z_STREAM_END && stream.avail_out == 0;
  inflateEnd(&stream);
  content.resize(entry.size);
  if (!is_whole) refuse("does not unpack to the size that the archive says; the file is damaged");
  if (crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size()) != entry.crc) {
    refuse("has a wrong checksum; the file is damaged");
  }
  return content;
}

}  // namespace vistazo
