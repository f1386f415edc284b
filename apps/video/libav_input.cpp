#include "apps/video/libav_input.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <cmath>

#include "apps/video/source_name.h"

extern "C" {
#include <libavutil/display.h>
#ifdef VISTAZO_HAS_AVDEVICE
#include <libavdevice/avdevice.h>
#endif
}

namespace vistazo::apps {
namespace {

class Dictionary {
 public:
  ~Dictionary() { av_dict_free(&values_); }
  void set(const char* key, const std::string& value) { av_dict_set(&values_, key, value.c_str(), 0); }
  AVDictionary** get() { return &values_; }

 private:
  AVDictionary* values_ = nullptr;
};

[[noreturn]] void fail_source(const std::string& reason) {
  throw Error(Error::Code::file, reason);
}

}  // namespace

// FFmpeg asks every tenth of a second or so whether to give up.
int LibavInput::interrupt(void* self) {
  const auto& input = *static_cast<const LibavInput*>(self);
  return input.stopped_ || (input.has_deadline_ && Clock::now() > input.expires_);
}

LibavInput::LibavInput(const std::string& source, std::chrono::milliseconds deadline, const std::atomic<bool>& stopped)
    : source_(source),
      deadline_(deadline),
      stopped_(stopped),
      has_deadline_(is_camera(source) || is_on_network(source)) {
  silence_libav();
  open();
  stream_ = av_find_best_stream(input_.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &codec_, 0);
  if (stream_ == AVERROR_DECODER_NOT_FOUND) fail_source("this build of FFmpeg has no decoder for its pictures");
  if (stream_ < 0) fail_source("has no pictures");
  for (unsigned i = 0; i < input_->nb_streams; ++i) {
    if (static_cast<int>(i) != stream_) input_->streams[i]->discard = AVDISCARD_ALL;
  }
}

void LibavInput::open() {
  const AVInputFormat* demuxer = nullptr;
  std::string url = source_;
  Dictionary settings;
  if (is_camera(source_)) {
#ifdef VISTAZO_HAS_AVDEVICE
    avdevice_register_all();
    demuxer = av_find_input_format("video4linux2");
#endif
    if (demuxer == nullptr)
      throw Error(Error::Code::unsupported, "this build reads no cameras: libavdevice is missing");
    if (is_number(source_)) url = "/dev/video" + source_;
  } else if (source_.starts_with("rtsp")) {
    settings.set("rtsp_transport", "tcp");  // a lost UDP packet smears pictures until the next key frame
  }
  AVFormatContext* context = avformat_alloc_context();
  context->interrupt_callback = {&LibavInput::interrupt, this};
  start_clock();
  const int opened = avformat_open_input(&context, url.c_str(), demuxer, settings.get());  // frees it on failure
  if (opened < 0) {
    if (opened == AVERROR_EXIT && !stopped_) fail_source("gives no answer");
    fail_source(opened == AVERROR_INVALIDDATA ? "is no video that FFmpeg can read" : libav_error(opened));
  }
  input_.reset(context);
  start_clock();
  const int probed = avformat_find_stream_info(input_.get(), nullptr);
  if (probed < 0) fail_source(fmt::format("cannot be read: {}", libav_error(probed)));
}

int LibavInput::quarter_turns() const {
  const auto* matrix =
      reinterpret_cast<const std::int32_t*>(av_stream_get_side_data(&stream(), AV_PKT_DATA_DISPLAYMATRIX, nullptr));
  if (matrix == nullptr) return 0;
  const double counterclockwise = av_display_rotation_get(matrix);
  return std::isfinite(counterclockwise) ? (static_cast<int>(std::lround(-counterclockwise / 90)) % 4 + 4) % 4 : 0;
}

VideoFormat LibavInput::format() const {
  const AVStream& video = stream();
  VideoFormat format;
  format.width = video.codecpar->width;
  format.height = video.codecpar->height;
  if (quarter_turns() % 2 == 1) std::swap(format.width, format.height);
  const AVRational rate = av_guess_frame_rate(input_.get(), &stream(), nullptr);
  if (rate.num > 0 && rate.den > 0) {
    format.rate_numerator = rate.num;
    format.rate_denominator = rate.den;
  }
  format.tick = {0, video.time_base.num, video.time_base.den};
  // A file behind a web server has a length; a stream has none.
  const bool is_endless = input_->duration == AV_NOPTS_VALUE;
  format.is_live = is_live_source(source_) || (is_on_network(source_) && is_endless);
  if (!format.is_live) {
    format.frames = video.nb_frames;
    if (format.frames == 0 && !is_endless && format.rate_numerator > 0) {
      format.frames = av_rescale(input_->duration, format.rate_numerator, format.rate_denominator * AV_TIME_BASE);
    }
  }
  return format;
}

bool LibavInput::read(AVPacket& packet) {
  for (;;) {
    const int got = av_read_frame(input_.get(), &packet);
    if (got == AVERROR(EAGAIN)) continue;
    if (got == AVERROR_EOF || (got == AVERROR_EXIT && stopped_)) return false;
    if (got == AVERROR_EXIT) {
      fail_source(fmt::format("silent for {} s", std::chrono::duration<double>(deadline_).count()));
    }
    if (got < 0) fail_source(fmt::format("breaks off: {}", libav_error(got)));
    if (packet.stream_index == stream_) break;
    av_packet_unref(&packet);
  }
  packet_arrived_ = Clock::now();
  return true;
}

}  // namespace vistazo::apps
