#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "apps/video/packet_source.h"

namespace vistazo::apps {

// Cuts a byte stream of H.264 or H.265 (Annex B of ITU-T H.264 and H.265) before the first unit of each picture: its
// parameter sets, delimiters and messages, or its first slice. Fields of a frame are pictures of their own.
class AnnexbSplitter {
 public:
  explicit AnnexbSplitter(VideoCodec codec) : is_hevc_(codec == VideoCodec::hevc) {}

  void push(std::span<const std::uint8_t> bytes);
  // The next whole picture; nothing before more is pushed. Valid until the next push().
  std::span<const std::uint8_t> next();
  // What is left at the end.
  std::span<const std::uint8_t> rest() const { return std::span(bytes_).subspan(begin_); }

 private:
  struct Unit {
    bool is_slice, is_first_slice, is_before_picture;
  };
  Unit unit_at(std::size_t header) const;

  const bool is_hevc_;
  std::vector<std::uint8_t> bytes_;
  std::size_t begin_ = 0, scanned_ = 0;
  bool has_slice_ = false;  // of the picture that begins at begin_
};

// A file that is such a stream. It tells no times.
class AnnexbFile final : public PacketSource {
 public:
  // Whether the name ends in .h264, .264, .hevc, .h265 or .265, in any case.
  static bool is_named(const std::string& path);

  // Throws Error{file}.
  explicit AnnexbFile(const std::string& path);

  VideoCodec codec() const override { return codec_; }
  VideoFormat format() const override { return {}; }
  bool read(VideoPacket& packet) override;

 private:
  const VideoCodec codec_;
  std::ifstream file_;
  std::vector<std::uint8_t> chunk_;
  AnnexbSplitter splitter_;
  bool has_ended_ = false;
};

}  // namespace vistazo::apps
