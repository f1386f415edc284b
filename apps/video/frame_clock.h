#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "apps/video/video_reader.h"

namespace vistazo::apps {

// Numbers the frames of a source and tells their times; those that have none come one frame after the last.
class FrameClock {
 public:
  // ticks: of the format's clock.
  void stamp(VideoFrame& frame, const VideoFormat& format, std::optional<std::int64_t> ticks) {
    const VideoTime& tick = format.tick;
    if (!ticks) {
      const std::int64_t rate = std::max<std::int64_t>(format.rate_numerator, 1);
      const std::int64_t step = format.rate_denominator * tick.denominator / (rate * tick.numerator);
      ticks = frames_ == 0 ? 0 : last_ticks_ + std::max<std::int64_t>(step, 1);
    }
    if (frames_ == 0) first_ticks_ = *ticks;
    last_ticks_ = *ticks;
    frame.index = frames_++;
    frame.time = {*ticks, tick.numerator, tick.denominator};
    frame.time_ms = 1e3 * static_cast<double>(*ticks - first_ticks_) * static_cast<double>(tick.numerator) /
                    static_cast<double>(tick.denominator);
  }

  std::int64_t frames() const { return frames_; }

 private:
  std::int64_t frames_ = 0, first_ticks_ = 0, last_ticks_ = 0;
};

}  // namespace vistazo::apps
