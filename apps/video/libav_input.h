#pragma once

#include <atomic>
#include <chrono>
#include <string>

#include "apps/video/libav.h"
#include "apps/video/video_reader.h"

namespace vistazo::apps {

// The packets of a source's pictures, through FFmpeg: a file, a camera or a stream that is opened and read with a
// deadline and can be stopped.
class LibavInput {
 public:
  using Clock = std::chrono::steady_clock;

  // Throws Error{file} saying what is wrong with the source.
  LibavInput(const std::string& source, std::chrono::milliseconds deadline, const std::atomic<bool>& stopped);

  AVStream& stream() const { return *input_->streams[stream_]; }
  const AVCodec& codec() const { return *codec_; }
  // Whether frames come when they come: what waits for others is late.
  bool is_timed() const { return has_deadline_; }
  // Of the upright picture.
  VideoFormat format() const;
  // Clockwise quarter turns that make the picture upright.
  int quarter_turns() const;

  // The deadline of what is read next begins now.
  void start_clock() { expires_ = Clock::now() + deadline_; }
  // The next packet. False at the end, or when stopped. Throws Error{file} where the source breaks off or is silent.
  bool read(AVPacket& packet);
  Clock::time_point packet_arrived() const { return packet_arrived_; }

 private:
  struct Close {
    void operator()(AVFormatContext* p) const { avformat_close_input(&p); }
  };
  static int interrupt(void* self);
  void open();

  const std::string source_;
  const std::chrono::milliseconds deadline_;
  const std::atomic<bool>& stopped_;
  const bool has_deadline_;
  Clock::time_point expires_{}, packet_arrived_{};
  std::unique_ptr<AVFormatContext, Close> input_;
  int stream_ = -1;
  const AVCodec* codec_ = nullptr;
};

}  // namespace vistazo::apps
