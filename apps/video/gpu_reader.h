#pragma once

#include <map>
#include <memory>

#include "apps/video/frame_clock.h"
#include "apps/video/packet_source.h"
#include "apps/video/video_reader.h"

namespace vistazo::apps {

// Decodes packets on a GPU; its frames stay there.
class GpuReader final : public VideoReader {
 public:
  // Throws what make_gpu_decoder of the options throws. Reads nothing before start().
  GpuReader(std::unique_ptr<PacketSource> source, const VideoReaderOptions& options, const std::atomic<bool>& stopped);

  // Decodes up to the first frame, which tells what the source does not. Throws Error{unsupported} or Error{device}
  // where NVDEC cannot decode it, Error{file} where there is no frame.
  void start();

  bool next(VideoFrame& frame) override;
  void fill(VideoFrame& frame) override;
  std::int64_t broken_frames() const override { return damaged_packets_ + decoder_.broken_frames(); }
  const char* decoder() const override { return "NVDEC"; }

 private:
  struct PacketTime {
    std::optional<std::int64_t> ticks;
    std::chrono::steady_clock::time_point arrived;
  };
  bool decode_next();

  const std::unique_ptr<PacketSource> source_;
  const std::atomic<bool>& stopped_;
  GpuVideoDecoder decoder_;
  GpuFrame frame_;
  bool has_first_ = false, is_flushed_ = false;
  std::int64_t packets_ = 0, damaged_packets_ = 0;
  std::map<std::int64_t, PacketTime> times_;  // by the number that the decoder was given as a timestamp
  FrameClock clock_;
};

}  // namespace vistazo::apps
