#include "apps/video/annexb_file.h"

#include <vistazo/error.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace vistazo::apps {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 18;
constexpr std::size_t kLargestPicture = std::size_t{64} << 20;
constexpr std::array<std::uint8_t, 3> kStartCode = {0, 0, 1};
constexpr std::size_t kNeededBytes = 3;  // of a unit, to see what it is

std::string extension_of(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension().string();
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

bool is_hevc_name(const std::string& path) {
  const std::string extension = extension_of(path);
  return extension == ".hevc" || extension == ".h265" || extension == ".265";
}

}  // namespace

void AnnexbSplitter::push(std::span<const std::uint8_t> bytes) {
  bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin_));
  scanned_ -= begin_;
  begin_ = 0;
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

// Types of units: table 7-1 of either standard.
AnnexbSplitter::Unit AnnexbSplitter::unit_at(std::size_t header) const {
  const auto is_within = [](int value, int first, int last) { return value >= first && value <= last; };
  if (is_hevc_) {
    const int type = bytes_[header] >> 1 & 0x3f;
    const bool is_slice = type < 32;
    const bool is_first = (bytes_[header + 2] & 0x80) != 0;  // first_slice_segment_in_pic_flag
    return {is_slice, is_slice && is_first,
            is_within(type, 32, 35) || type == 39 || is_within(type, 41, 44) || is_within(type, 48, 55)};
  }
  const int type = bytes_[header] & 0x1f;
  const bool is_slice = type == 1 || type == 2 || type == 5;
  const bool is_first = (bytes_[header + 1] & 0x80) != 0;  // first_mb_in_slice is 0
  return {is_slice, is_slice && is_first, is_within(type, 6, 9) || is_within(type, 14, 18)};
}

std::span<const std::uint8_t> AnnexbSplitter::next() {
  for (;;) {
    const auto found = std::search(bytes_.begin() + static_cast<std::ptrdiff_t>(scanned_), bytes_.end(),
                                   kStartCode.begin(), kStartCode.end());
    const auto code = static_cast<std::size_t>(found - bytes_.begin());
    const std::size_t header = code + kStartCode.size();
    if (header + kNeededBytes > bytes_.size()) {
      // A code may be cut here; what comes before is done with.
      scanned_ = std::max(scanned_, std::min(code, bytes_.size() - std::min(bytes_.size(), kStartCode.size() - 1)));
      return {};
    }
    scanned_ = header;
    const Unit unit = unit_at(header);
    const bool is_next_picture = has_slice_ && (unit.is_before_picture || unit.is_first_slice);
    has_slice_ = unit.is_slice || (has_slice_ && !is_next_picture);
    if (!is_next_picture) continue;
    const std::size_t end = code > begin_ && bytes_[code - 1] == 0 ? code - 1 : code;  // codes may have four bytes
    const std::span picture = std::span(bytes_).subspan(begin_, end - begin_);
    begin_ = end;
    return picture;
  }
}

bool AnnexbFile::is_named(const std::string& path) {
  const std::string extension = extension_of(path);
  return is_hevc_name(path) || extension == ".h264" || extension == ".264";
}

AnnexbFile::AnnexbFile(const std::string& path)
    : codec_(is_hevc_name(path) ? VideoCodec::hevc : VideoCodec::h264),
      file_(path, std::ios::binary),
      chunk_(kChunk),
      splitter_(codec_) {
  if (!file_) throw Error(Error::Code::file, std::strerror(errno));
  // One start code before any picture: else it is something else.
  file_.read(reinterpret_cast<char*>(chunk_.data()), static_cast<std::streamsize>(chunk_.size()));
  const std::span head = std::span(chunk_).first(static_cast<std::size_t>(file_.gcount()));
  if (std::search(head.begin(), head.end(), kStartCode.begin(), kStartCode.end()) == head.end()) {
    throw Error(Error::Code::file, "is no byte stream of H.264 or H.265: it has no start code");
  }
  splitter_.push(head);
}

bool AnnexbFile::read(VideoPacket& packet) {
  packet = {};
  while (!has_ended_) {
    packet.bytes = splitter_.next();
    packet.arrived = std::chrono::steady_clock::now();
    if (!packet.bytes.empty()) return true;
    file_.read(reinterpret_cast<char*>(chunk_.data()), static_cast<std::streamsize>(chunk_.size()));
    if (file_.bad()) throw Error(Error::Code::file, "breaks off: it cannot be read");
    splitter_.push(std::span(chunk_).first(static_cast<std::size_t>(file_.gcount())));
    if (splitter_.rest().size() > kLargestPicture) {
      throw Error(Error::Code::file, "breaks off: 64 MiB without a picture's end");
    }
    if (file_.gcount() > 0) continue;
    has_ended_ = true;
    packet.bytes = splitter_.rest();
    return !packet.bytes.empty();
  }
  return false;
}

}  // namespace vistazo::apps
