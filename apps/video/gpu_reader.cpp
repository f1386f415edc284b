#include "apps/video/gpu_reader.h"

#include <vistazo/error.h>

#include <utility>

namespace vistazo::apps {

GpuReader::GpuReader(std::unique_ptr<PacketSource> source, const VideoReaderOptions& options,
                     const std::atomic<bool>& stopped)
    : source_(std::move(source)),
      stopped_(stopped),
      decoder_(options.make_gpu_decoder(source_->codec(), options.gpu, source_->format().is_live)) {
  format_ = source_->format();
}

void GpuReader::start() {
  has_first_ = decode_next();
  if (!has_first_) {
    if (stopped_) return;
    throw Error(Error::Code::file, "has no picture that can be decoded");
  }
  format_.width = frame_.width;
  format_.height = frame_.height;
  if (format_.rate_numerator > 0) return;
  constexpr int kUsualRate = 25;  // what FFmpeg, too, takes a stream for that does not say
  const GpuVideoDecoder::Rate rate = decoder_.rate();
  format_.rate_numerator = rate.numerator > 0 ? rate.numerator : kUsualRate;
  format_.rate_denominator = rate.numerator > 0 ? rate.denominator : 1;
  if (format_.tick.denominator == 1) format_.tick = {0, format_.rate_denominator, format_.rate_numerator};
}

// The decoder's next frame, into frame_. False at the end, or when stopped.
bool GpuReader::decode_next() {
  constexpr std::size_t kMostTimes = 256;  // of frames that never came out, for the most part
  source_->start_clock();
  while (!stopped_) {
    if (decoder_.next(frame_)) return true;
    if (is_flushed_) return false;
    VideoPacket packet;
    if (!source_->read(packet)) {
      if (stopped_) return false;
      decoder_.flush();
      is_flushed_ = true;
    } else if (packet.is_damaged) {
      ++damaged_packets_;
    } else {
      if (times_.size() >= kMostTimes) times_.erase(times_.begin());
      times_[packets_] = {packet.ticks, packet.arrived};
      decoder_.decode(packet.bytes, packets_++);
    }
  }
  return false;
}

bool GpuReader::next(VideoFrame& out) {
  if (!std::exchange(has_first_, false) && !decode_next()) return false;
  // Of two frames of one packet, the second has no time of its own.
  const auto time = times_.extract(frame_.timestamp);
  clock_.stamp(out, format_, time.empty() ? std::nullopt : time.mapped().ticks);
  out.arrived = time.empty() ? std::chrono::steady_clock::now() : time.mapped().arrived;
  return true;
}

void GpuReader::fill(VideoFrame& out) {
  out.picture = {};
  out.gpu = std::exchange(frame_, {});
}

}  // namespace vistazo::apps
