#pragma once

#include <vistazo/gpu_video.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "apps/image_io.h"

namespace vistazo::apps {

struct VideoTime {
  std::int64_t ticks = 0;                       // since the source's clock began
  std::int64_t numerator = 1, denominator = 1;  // of a tick, in seconds
};

struct VideoFrame {
  Picture picture;         // empty while the frame lies in a GPU's memory alone
  GpuFrame gpu;            // empty if it was decoded on the CPU
  std::int64_t index = 0;  // among the frames that were read, from 0
  VideoTime time;          // when it is to be shown
  double time_ms = 0;      // the same, since the first frame
  std::chrono::steady_clock::time_point arrived;

  int width() const { return gpu.pixels ? gpu.width : picture.width; }
  int height() const { return gpu.pixels ? gpu.height : picture.height; }
  // What a detector takes: of a frame on a GPU, its pixels there.
  Image view() const { return gpu.pixels ? gpu.view() : picture.view(); }
  // Copies a frame that lies on a GPU to `picture`.
  void fetch_picture();
};

enum class DecoderChoice { automatic, cpu, nvdec };

struct VideoReaderOptions {
  std::chrono::milliseconds deadline{10'000};  // for opening a live source, and for each of its frames
  int decoder_threads = 0;                     // 0: as many as FFmpeg thinks right
  DecoderChoice decoder = DecoderChoice::cpu;  // automatic: NVDEC where it can decode the source, else the CPU
  int gpu = 0;                                 // for NVDEC: the detector's
  // Makes a decoder on that GPU; tests put another in its place.
  std::function<GpuVideoDecoder(VideoCodec, int gpu, bool keeps_up)> make_gpu_decoder =
      [](VideoCodec codec, int index, bool keeps_up) { return GpuVideoDecoder(codec, index, keeps_up); };
};

struct VideoFormat {
  int width = 0, height = 0;                              // upright
  std::int64_t rate_numerator = 0, rate_denominator = 1;  // frames a second on average; 0 where the source does not say
  VideoTime tick;                                         // of its clock; ticks is 0
  bool is_live = false;                                   // a camera or stream: frames come when they come
  std::int64_t frames = 0;                                // 0 where the source does not say
};

// Frames of a video file, a camera (a number, or /dev/video0), a stream (rtsp://, http://, tcp://, udp://, ...), or
// numbered pictures (frame_%04d.png). For one thread; `stopped` may be set by another, and what is under way then ends
// within a tenth of a second.
class VideoReader {
 public:
  virtual ~VideoReader() = default;
  VideoReader(const VideoReader&) = delete;
  VideoReader& operator=(const VideoReader&) = delete;

  const VideoFormat& format() const { return format_; }
  // Decodes the next frame: its number and times, into `frame`. False at the end, or when stopped. Throws Error{file}
  // if the source breaks off or is silent for longer than the deadline.
  virtual bool next(VideoFrame& frame) = 0;
  // The pixels of the frame that next() decoded, into new memory.
  virtual void fill(VideoFrame& frame) = 0;
  bool read(VideoFrame& frame) {
    if (!next(frame)) return false;
    fill(frame);
    return true;
  }
  // Frames that could not be decoded, or only with visible errors; they were left out.
  virtual std::int64_t broken_frames() const = 0;
  // What decodes: "CPU" or "NVDEC".
  virtual const char* decoder() const = 0;

 protected:
  VideoReader() = default;
  VideoFormat format_;
};

// Throws Error{file} saying what is wrong with the source; with DecoderChoice::nvdec also Error{device} or
// Error{unsupported} where NVDEC does not decode it. `note` is called with the reason if DecoderChoice::automatic comes
// to the CPU.
std::unique_ptr<VideoReader> open_video(const std::string& source, const VideoReaderOptions& options,
                                        const std::atomic<bool>& stopped,
                                        const std::function<void(const std::string&)>& note = {});

}  // namespace vistazo::apps
