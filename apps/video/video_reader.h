#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "apps/image_io.h"

namespace vistazo::apps {

struct VideoTime {
  std::int64_t ticks = 0;                       // since the source's clock began
  std::int64_t numerator = 1, denominator = 1;  // of a tick, in seconds
};

struct VideoFrame {
  Picture picture;
  std::int64_t index = 0;  // among the frames that were read, from 0
  VideoTime time;          // when it is to be shown
  double time_ms = 0;      // the same, since the first frame
  std::chrono::steady_clock::time_point arrived;
};

struct VideoReaderOptions {
  std::chrono::milliseconds deadline{10'000};  // for opening a live source, and for each of its frames
  int decoder_threads = 0;                     // 0: as many as FFmpeg thinks right
};

struct VideoFormat {
  int width = 0, height = 0;                              // upright
  std::int64_t rate_numerator = 0, rate_denominator = 1;  // frames a second on average; 0 where the source does not say
  VideoTime tick;                                         // of its clock; ticks is 0
  bool is_live = false;                                   // a camera or stream: frames come when they come
  std::int64_t frames = 0;                                // 0 where the source does not say
};

// Frames of a video file, a camera (a number, or /dev/video0), a stream (rtsp://, http://, tcp://, udp://, ...), or
// numbered pictures (frame_%04d.png), through FFmpeg. Rotation that the file asks for is applied. For one thread;
// `stopped` may be set by another, and what is under way then ends within a tenth of a second.
class VideoReader {
 public:
  // Throws Error{file} saying what is wrong with the source.
  VideoReader(const std::string& source, const VideoReaderOptions& options, const std::atomic<bool>& stopped);
  ~VideoReader();
  VideoReader(const VideoReader&) = delete;
  VideoReader& operator=(const VideoReader&) = delete;

  const VideoFormat& format() const;
  // The next frame, into `frame`, whose picture is new memory unless nobody else holds the old one. False at the end,
  // or when stopped. Throws Error{file} if the source breaks off or is silent for longer than the deadline.
  bool read(VideoFrame& frame);
  // Frames that could not be decoded, or only with visible errors; they were left out.
  std::int64_t broken_frames() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Whether the source is a camera or stream rather than files.
bool is_live_source(const std::string& source);

}  // namespace vistazo::apps
