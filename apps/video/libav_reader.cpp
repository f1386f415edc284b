#include "apps/video/libav_reader.h"

#include <fmt/core.h>
#include <vistazo/error.h>
#include <vistazo/yuv_image.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "apps/video/frame_clock.h"
#include "apps/video/libav_input.h"
#include "apps/video/picture_memory.h"

namespace vistazo::apps {
namespace {

[[noreturn]] void fail_source(const std::string& reason) {
  throw Error(Error::Code::file, reason);
}

// Rows of 3-byte pixels, turned clockwise.
void turn(const Picture& from, const Picture& to, int quarters) {
  const int width = from.width, height = from.height;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const int to_x = quarters == 1 ? height - 1 - y : quarters == 2 ? width - 1 - x : y;
      const int to_y = quarters == 1 ? x : quarters == 2 ? height - 1 - y : width - 1 - x;
      std::memcpy(to.pixels.get() + to_y * to.row_bytes + 3 * to_x, from.pixels.get() + y * from.row_bytes + 3 * x, 3);
    }
  }
}

// What is not told is taken for BT.601, as swscale does it.
YuvStandard standard_of(AVColorSpace colours) {
  if (colours == AVCOL_SPC_BT709) return YuvStandard::bt709;
  const bool is_2020 = colours == AVCOL_SPC_BT2020_NCL || colours == AVCOL_SPC_BT2020_CL;
  return is_2020 ? YuvStandard::bt2020 : YuvStandard::bt601;
}

class LibavReader final : public VideoReader {
 public:
  LibavReader(std::shared_ptr<LibavInput> input, int threads, const std::atomic<bool>& stopped)
      : stopped_(stopped), input_(std::move(input)), quarters_(input_->quarter_turns()) {
    format_ = input_->format();
    open_decoder(threads);
  }

  bool next(VideoFrame& frame) override;
  void fill(VideoFrame& frame) override;
  std::int64_t broken_frames() const override { return broken_; }
  const char* decoder() const override { return "CPU"; }

 private:
  void open_decoder(int threads);
  bool feed();
  bool decode_next();
  void convert(const Picture& picture);
  void scale(const Picture& picture);

  const std::atomic<bool>& stopped_;
  const std::shared_ptr<LibavInput> input_;
  const int quarters_;
  LibavOwner<AVCodecContext> decoder_;
  LibavOwner<AVPacket> packet_{av_packet_alloc()};
  LibavOwner<AVFrame> frame_{av_frame_alloc()};
  LibavOwner<SwsContext> scaler_;
  PictureMemory memory_;
  bool is_flushing_ = false;
  std::int64_t broken_ = 0;
  FrameClock clock_;
};

void LibavReader::open_decoder(int threads) {
  decoder_.reset(avcodec_alloc_context3(&input_->codec()));
  avcodec_parameters_to_context(decoder_.get(), input_->stream().codecpar);
  decoder_->pkt_timebase = input_->stream().time_base;
  decoder_->thread_count = threads;
  // Decoding several frames at a time holds each back until the others are done.
  decoder_->thread_type = input_->is_timed() ? FF_THREAD_SLICE : FF_THREAD_FRAME | FF_THREAD_SLICE;
  const int opened = avcodec_open2(decoder_.get(), &input_->codec(), nullptr);
  if (opened < 0) {
    fail_source(fmt::format("its decoder {} does not start: {}", input_->codec().name, libav_error(opened)));
  }
}

// Gives the decoder the stream's next packet. False if everything stops.
bool LibavReader::feed() {
  if (!input_->read(*packet_)) {
    is_flushing_ = true;
    avcodec_send_packet(decoder_.get(), nullptr);
    return !stopped_;
  }
  const int sent = avcodec_send_packet(decoder_.get(), packet_.get());
  av_packet_unref(packet_.get());
  if (sent < 0) ++broken_;
  return true;
}

// The decoder's next frame, into frame_. False at the end.
bool LibavReader::decode_next() {
  input_->start_clock();
  while (!stopped_) {
    const int got = avcodec_receive_frame(decoder_.get(), frame_.get());
    if (got == AVERROR_EOF) return false;
    if (got == AVERROR(EAGAIN)) {
      if (is_flushing_ || !feed()) return false;
      continue;
    }
    const bool is_broken = got < 0 || frame_->decode_error_flags != 0 || (frame_->flags & AV_FRAME_FLAG_CORRUPT) != 0;
    if (!is_broken) return true;
    ++broken_;
  }
  return false;
}

bool LibavReader::next(VideoFrame& out) {
  if (!decode_next()) return false;
  const std::int64_t ticks = frame_->best_effort_timestamp;
  clock_.stamp(out, format_, ticks == AV_NOPTS_VALUE ? std::nullopt : std::optional(ticks));
  out.arrived = input_->packet_arrived();
  return true;
}

void LibavReader::fill(VideoFrame& out) {
  const int width = frame_->width, height = frame_->height;
  out.gpu = {};
  if (quarters_ == 0) {
    out.picture = memory_.make(width, height);
    convert(out.picture);
    return;
  }
  const Picture unturned = memory_.make(width, height);
  convert(unturned);
  out.picture = quarters_ == 2 ? memory_.make(width, height) : memory_.make(height, width);
  turn(unturned, out.picture, quarters_);
}

// frame_'s pixels, as they lie.
void LibavReader::convert(const Picture& picture) {
  const bool is_planar = frame_->format == AV_PIX_FMT_YUV420P || frame_->format == AV_PIX_FMT_YUVJ420P;
  const bool is_upside_down = frame_->linesize[0] < 0;
  if ((!is_planar && frame_->format != AV_PIX_FMT_NV12) || is_upside_down) return scale(picture);
  const bool is_full_range = frame_->color_range == AVCOL_RANGE_JPEG || frame_->format == AV_PIX_FMT_YUVJ420P;
  const std::uint8_t* u = frame_->data[1];
  const YuvImage image{frame_->data[0],
                       u,
                       is_planar ? frame_->data[2] : u + 1,
                       frame_->width,
                       frame_->height,
                       frame_->linesize[0],
                       frame_->linesize[1],
                       is_planar ? 1 : 2,
                       standard_of(frame_->colorspace),
                       is_full_range};
  convert_to_bgr(image, picture.pixels.get(), picture.row_bytes);
}

// The same for pixels of any other format.
void LibavReader::scale(const Picture& picture) {
  const int width = frame_->width, height = frame_->height;
  SwsContext* cached =
      sws_getCachedContext(scaler_.release(), width, height, static_cast<AVPixelFormat>(frame_->format), width, height,
                           AV_PIX_FMT_BGR24, SWS_BICUBIC | SWS_ACCURATE_RND, nullptr, nullptr, nullptr);
  scaler_.reset(cached);
  if (cached == nullptr) fail_source("its pixel format cannot be converted");
  const int* matrix = sws_getCoefficients(frame_->colorspace);  // for those not told, BT.601
  sws_setColorspaceDetails(cached, matrix, frame_->color_range == AVCOL_RANGE_JPEG, matrix, 1, 0, 1 << 16, 1 << 16);
  std::uint8_t* const planes[] = {picture.pixels.get(), nullptr, nullptr, nullptr};
  const int strides[] = {static_cast<int>(picture.row_bytes), 0, 0, 0};
  sws_scale(cached, frame_->data, frame_->linesize, 0, height, planes, strides);
}

}  // namespace

std::unique_ptr<VideoReader> make_libav_reader(std::shared_ptr<LibavInput> input, int threads,
                                               const std::atomic<bool>& stopped) {
  return std::make_unique<LibavReader>(std::move(input), threads, stopped);
}

}  // namespace vistazo::apps
