#include "apps/video/video_reader.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "apps/video/libav.h"

extern "C" {
#include <libavutil/display.h>
#ifdef VISTAZO_HAS_AVDEVICE
#include <libavdevice/avdevice.h>
#endif
}

namespace vistazo::apps {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail_source(const std::string& reason) {
  throw Error(Error::Code::file, reason);
}

bool is_number(const std::string& text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_camera(const std::string& source) {
  return is_number(source) || source.starts_with("/dev/video");
}

bool is_on_network(const std::string& source) {
  return source.find("://") != std::string::npos && !source.starts_with("file://");
}

struct CloseInput {
  void operator()(AVFormatContext* p) const { avformat_close_input(&p); }
};

class Dictionary {
 public:
  ~Dictionary() { av_dict_free(&values_); }
  void set(const char* key, const std::string& value) { av_dict_set(&values_, key, value.c_str(), 0); }
  AVDictionary** get() { return &values_; }

 private:
  AVDictionary* values_ = nullptr;
};

// Clockwise quarter turns that make the picture upright.
int quarter_turns(const AVStream& stream) {
  const auto* matrix =
      reinterpret_cast<const std::int32_t*>(av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, nullptr));
  if (matrix == nullptr) return 0;
  const double counterclockwise = av_display_rotation_get(matrix);
  return std::isfinite(counterclockwise) ? (static_cast<int>(std::lround(-counterclockwise / 90)) % 4 + 4) % 4 : 0;
}

// Rows of 3-byte pixels, turned clockwise.
void turn(const std::uint8_t* from, int width, int height, std::ptrdiff_t from_row, std::uint8_t* to,
          std::ptrdiff_t to_row, int quarters) {
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const int to_x = quarters == 1 ? height - 1 - y : quarters == 2 ? width - 1 - x : y;
      const int to_y = quarters == 1 ? x : quarters == 2 ? height - 1 - y : width - 1 - x;
      std::memcpy(to + to_y * to_row + 3 * to_x, from + y * from_row + 3 * x, 3);
    }
  }
}

}  // namespace

bool is_live_source(const std::string& source) {
  return is_camera(source) || (is_on_network(source) && !source.starts_with("http"));
}

struct VideoReader::Impl {
  Impl(const std::string& source, const VideoReaderOptions& options, const std::atomic<bool>& stopped);

  void open(const std::string& source);
  void open_decoder();
  void describe(const std::string& source);
  bool decode_next();
  bool feed();
  void convert(Picture& picture);

  static int interrupt(void* self);
  void start_clock() { expires = Clock::now() + options.deadline; }

  VideoReaderOptions options;
  const std::atomic<bool>& stopped;
  bool has_deadline = false;
  Clock::time_point expires{};
  std::unique_ptr<AVFormatContext, CloseInput> input;
  int stream = -1;
  LibavOwner<AVCodecContext> decoder;
  LibavOwner<AVPacket> packet{av_packet_alloc()};
  LibavOwner<AVFrame> frame{av_frame_alloc()};
  LibavOwner<SwsContext> scaler;
  VideoFormat format;
  int quarters = 0;
  std::shared_ptr<std::uint8_t> unturned;
  bool is_flushing = false;
  Clock::time_point packet_arrived{};
  std::int64_t frames = 0, broken = 0;
  std::int64_t first_ticks = 0, last_ticks = 0;
};

// FFmpeg asks every tenth of a second or so whether to give up.
int VideoReader::Impl::interrupt(void* self) {
  const auto& reader = *static_cast<const Impl*>(self);
  return reader.stopped || (reader.has_deadline && Clock::now() > reader.expires);
}

VideoReader::Impl::Impl(const std::string& source, const VideoReaderOptions& o, const std::atomic<bool>& s)
    : options(o), stopped(s), has_deadline(is_camera(source) || is_on_network(source)) {
  silence_libav();
  open(source);
  open_decoder();
  describe(source);
}

void VideoReader::Impl::open(const std::string& source) {
  const AVInputFormat* demuxer = nullptr;
  std::string url = source;
  Dictionary settings;
  if (is_camera(source)) {
#ifdef VISTAZO_HAS_AVDEVICE
    avdevice_register_all();
    demuxer = av_find_input_format("video4linux2");
#endif
    if (demuxer == nullptr)
      throw Error(Error::Code::unsupported, "this build reads no cameras: libavdevice is missing");
    if (is_number(source)) url = "/dev/video" + source;
  } else if (source.starts_with("rtsp")) {
    settings.set("rtsp_transport", "tcp");  // a lost UDP packet smears pictures until the next key frame
  }
  AVFormatContext* context = avformat_alloc_context();
  context->interrupt_callback = {&Impl::interrupt, this};
  start_clock();
  const int opened = avformat_open_input(&context, url.c_str(), demuxer, settings.get());  // frees it on failure
  if (opened < 0) {
    if (opened == AVERROR_EXIT && !stopped) fail_source("gives no answer");
    fail_source(opened == AVERROR_INVALIDDATA ? "is no video that FFmpeg can read" : libav_error(opened));
  }
  input.reset(context);
  start_clock();
  const int probed = avformat_find_stream_info(input.get(), nullptr);
  if (probed < 0) fail_source(fmt::format("cannot be read: {}", libav_error(probed)));
}

void VideoReader::Impl::open_decoder() {
  const AVCodec* codec = nullptr;
  stream = av_find_best_stream(input.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
  if (stream == AVERROR_DECODER_NOT_FOUND) fail_source("this build of FFmpeg has no decoder for its pictures");
  if (stream < 0) fail_source("has no pictures");
  const AVStream& video = *input->streams[stream];
  decoder.reset(avcodec_alloc_context3(codec));
  avcodec_parameters_to_context(decoder.get(), video.codecpar);
  decoder->pkt_timebase = video.time_base;
  decoder->thread_count = options.decoder_threads;
  // Decoding several frames at a time holds each back until the others are done.
  decoder->thread_type = has_deadline ? FF_THREAD_SLICE : FF_THREAD_FRAME | FF_THREAD_SLICE;
  const int opened = avcodec_open2(decoder.get(), codec, nullptr);
  if (opened < 0) fail_source(fmt::format("its decoder {} does not start: {}", codec->name, libav_error(opened)));
  for (unsigned i = 0; i < input->nb_streams; ++i) {
    if (static_cast<int>(i) != stream) input->streams[i]->discard = AVDISCARD_ALL;
  }
}

void VideoReader::Impl::describe(const std::string& source) {
  const AVStream& video = *input->streams[stream];
  quarters = quarter_turns(video);
  format.width = decoder->width;
  format.height = decoder->height;
  if (quarters % 2 == 1) std::swap(format.width, format.height);
  const AVRational rate = av_guess_frame_rate(input.get(), input->streams[stream], nullptr);
  if (rate.num > 0 && rate.den > 0) {
    format.rate_numerator = rate.num;
    format.rate_denominator = rate.den;
  }
  format.tick = {0, video.time_base.num, video.time_base.den};
  // A file behind a web server has a length; a stream has none.
  const bool is_endless = input->duration == AV_NOPTS_VALUE;
  format.is_live = is_live_source(source) || (is_on_network(source) && is_endless);
  if (!format.is_live) {
    format.frames = video.nb_frames;
    if (format.frames == 0 && !is_endless && format.rate_numerator > 0) {
      format.frames = av_rescale(input->duration, format.rate_numerator, format.rate_denominator * AV_TIME_BASE);
    }
  }
}

// Gives the decoder the stream's next packet. False at the end.
bool VideoReader::Impl::feed() {
  for (;;) {
    const int got = av_read_frame(input.get(), packet.get());
    if (got == AVERROR(EAGAIN)) continue;
    if (got == AVERROR_EOF || (got == AVERROR_EXIT && stopped)) {
      is_flushing = true;
      avcodec_send_packet(decoder.get(), nullptr);
      return !stopped;
    }
    if (got == AVERROR_EXIT) {
      fail_source(fmt::format("silent for {} s", std::chrono::duration<double>(options.deadline).count()));
    }
    if (got < 0) fail_source(fmt::format("breaks off: {}", libav_error(got)));
    if (packet->stream_index != stream) {
      av_packet_unref(packet.get());
      continue;
    }
    packet_arrived = Clock::now();
    const int sent = avcodec_send_packet(decoder.get(), packet.get());
    av_packet_unref(packet.get());
    if (sent < 0) ++broken;
    return true;
  }
}

// The decoder's next frame, into `frame`. False at the end.
bool VideoReader::Impl::decode_next() {
  start_clock();
  while (!stopped) {
    const int got = avcodec_receive_frame(decoder.get(), frame.get());
    if (got == AVERROR_EOF) return false;
    if (got == AVERROR(EAGAIN)) {
      if (is_flushing || !feed()) return false;
      continue;
    }
    const bool is_broken = got < 0 || frame->decode_error_flags != 0 || (frame->flags & AV_FRAME_FLAG_CORRUPT) != 0;
    if (!is_broken) return true;
    ++broken;
  }
  return false;
}

void VideoReader::Impl::convert(Picture& picture) {
  constexpr std::ptrdiff_t kRowAlignment = 32;
  const int width = frame->width, height = frame->height;
  const auto row_bytes_of = [](int w) {
    return (std::ptrdiff_t{3} * w + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
  };
  const auto allocate = [](std::ptrdiff_t row_bytes, int rows) {
    const auto bytes = static_cast<std::size_t>(row_bytes * rows + kRowAlignment);  // swscale writes whole vectors
    return std::shared_ptr<std::uint8_t>(new std::uint8_t[bytes], std::default_delete<std::uint8_t[]>());
  };
  const bool is_turned = quarters % 2 == 1;
  const int out_width = is_turned ? height : width, out_height = is_turned ? width : height;
  if (picture.pixels.use_count() != 1 || picture.width != out_width || picture.height != out_height) {
    picture = {allocate(row_bytes_of(out_width), out_height), out_width, out_height, row_bytes_of(out_width), false};
  }
  SwsContext* cached =
      sws_getCachedContext(scaler.release(), width, height, static_cast<AVPixelFormat>(frame->format), width, height,
                           AV_PIX_FMT_BGR24, SWS_BICUBIC | SWS_ACCURATE_RND, nullptr, nullptr, nullptr);
  scaler.reset(cached);
  if (cached == nullptr) fail_source("its pixel format cannot be converted");
  const int* matrix = sws_getCoefficients(frame->colorspace);  // for those not told, BT.601
  sws_setColorspaceDetails(cached, matrix, frame->color_range == AVCOL_RANGE_JPEG, matrix, 1, 0, 1 << 16, 1 << 16);
  std::uint8_t* target = picture.pixels.get();
  std::ptrdiff_t target_row = picture.row_bytes;
  if (quarters != 0) {
    target_row = row_bytes_of(width);
    if (!unturned) unturned = allocate(target_row, height);
    target = unturned.get();
  }
  std::uint8_t* const planes[] = {target, nullptr, nullptr, nullptr};
  const int strides[] = {static_cast<int>(target_row), 0, 0, 0};
  sws_scale(cached, frame->data, frame->linesize, 0, height, planes, strides);
  if (quarters != 0) turn(target, width, height, target_row, picture.pixels.get(), picture.row_bytes, quarters);
}

VideoReader::VideoReader(const std::string& source, const VideoReaderOptions& options, const std::atomic<bool>& stopped)
    : impl_(std::make_unique<Impl>(source, options, stopped)) {}
VideoReader::~VideoReader() = default;

const VideoFormat& VideoReader::format() const {
  return impl_->format;
}

bool VideoReader::read(VideoFrame& out) {
  Impl& s = *impl_;
  const int width = s.decoder->width, height = s.decoder->height;
  if (!s.decode_next()) return false;
  if (s.frames > 0 && (s.frame->width != width || s.frame->height != height)) s.unturned.reset();
  s.convert(out.picture);
  std::int64_t ticks = s.frame->best_effort_timestamp;
  if (ticks == AV_NOPTS_VALUE) {  // one frame later than the last
    const std::int64_t rate = std::max<std::int64_t>(s.format.rate_numerator, 1);
    const std::int64_t step = s.format.rate_denominator * s.format.tick.denominator / (rate * s.format.tick.numerator);
    ticks = s.frames == 0 ? 0 : s.last_ticks + std::max<std::int64_t>(step, 1);
  }
  if (s.frames == 0) s.first_ticks = ticks;
  s.last_ticks = ticks;
  out.index = s.frames++;
  out.time = {ticks, s.format.tick.numerator, s.format.tick.denominator};
  out.time_ms = 1e3 * static_cast<double>(ticks - s.first_ticks) * static_cast<double>(s.format.tick.numerator) /
                static_cast<double>(s.format.tick.denominator);
  out.arrived = s.packet_arrived;
  return true;
}

std::int64_t VideoReader::broken_frames() const {
  return impl_->broken;
}

}  // namespace vistazo::apps
