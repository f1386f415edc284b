#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>

#include "apps/video/video_reader.h"

namespace vistazo::apps {

struct VideoPacket {
  std::span<const std::uint8_t> bytes;  // valid until the next one is read
  std::optional<std::int64_t> ticks;    // when its picture is shown, by the format's clock
  std::chrono::steady_clock::time_point arrived;
  bool is_damaged = false;  // there was a picture, but no bytes to decode could be made of it
};

// Pictures of H.264 or H.265, encoded, in Annex B's format: what a GpuVideoDecoder wants.
class PacketSource {
 public:
  virtual ~PacketSource() = default;

  virtual VideoCodec codec() const = 0;
  // Size and rate are 0 where only the stream itself tells them.
  virtual VideoFormat format() const = 0;
  // The deadline of what is read next begins now.
  virtual void start_clock() {}
  // A picture, or field, with what stands before it. False at the end, or when stopped. Throws Error{file}.
  virtual bool read(VideoPacket& packet) = 0;
};

}  // namespace vistazo::apps
