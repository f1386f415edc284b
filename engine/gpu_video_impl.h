#pragma once

#include <vistazo/gpu_video.h>

namespace vistazo {

// What GpuVideoDecoder hands its calls to; see there.
struct GpuVideoDecoder::Impl {
  virtual ~Impl() = default;
  virtual void decode(std::span<const std::uint8_t> packet, std::int64_t timestamp) = 0;
  virtual void flush() = 0;
  virtual bool next(GpuFrame& frame) = 0;
  virtual std::int64_t broken_frames() const = 0;
  virtual Rate rate() const = 0;
};

}  // namespace vistazo
