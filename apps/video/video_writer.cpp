#include "apps/video/video_writer.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "apps/video/libav.h"

extern "C" {
#include <libavutil/opt.h>
}

namespace vistazo::apps {
namespace {

struct CloseOutput {
  void operator()(AVFormatContext* p) const {
    if (p->pb != nullptr) avio_closep(&p->pb);
    avformat_free_context(p);
  }
};

int even(int size) {
  return size + size % 2;
}

const AVCodec* find_encoder() {
  for (const char* name : {"libx264", "libopenh264"}) {
    if (const AVCodec* codec = avcodec_find_encoder_by_name(name)) return codec;
  }
  return avcodec_find_encoder(AV_CODEC_ID_MPEG4);
}

}  // namespace

struct VideoWriter::Impl {
  Impl(const std::filesystem::path& path, const VideoFormat& format, const VideoWriterOptions& options);

  [[noreturn]] void fail(const std::string& reason, Error::Code code = Error::Code::file) const {
    throw Error(code, fmt::format("{}: {}", path.string(), reason));
  }
  void check(int result, const char* what) const {
    if (result < 0) fail(fmt::format("{}: {}", what, libav_error(result)));
  }
  void open_encoder(const VideoFormat& format, const VideoWriterOptions& options);
  void open_file();
  void encode(const AVFrame* picture);

  std::filesystem::path path;
  std::unique_ptr<AVFormatContext, CloseOutput> output;
  AVStream* stream = nullptr;
  LibavOwner<AVCodecContext> encoder;
  LibavOwner<AVFrame> frame{av_frame_alloc()};
  LibavOwner<AVPacket> packet{av_packet_alloc()};
  LibavOwner<SwsContext> scaler;
  AVRational tick{};  // of the frames that come in
  std::int64_t last_ticks = std::numeric_limits<std::int64_t>::min();
  bool is_closed = false;
};

VideoWriter::Impl::Impl(const std::filesystem::path& p, const VideoFormat& format, const VideoWriterOptions& options)
    : path(p) {
  silence_libav();
  const std::string extension = path.extension().string();
  if (extension != ".mp4" && extension != ".mov" && extension != ".mkv") {
    fail("videos are written as .mp4, .mov or .mkv", Error::Code::unsupported);
  }
  AVFormatContext* context = nullptr;
  check(avformat_alloc_output_context2(&context, nullptr, nullptr, path.c_str()), "cannot be written");
  output.reset(context);
  open_encoder(format, options);
  open_file();
}

void VideoWriter::Impl::open_encoder(const VideoFormat& format, const VideoWriterOptions& options) {
  const AVCodec* codec = find_encoder();
  if (codec == nullptr) fail("this build of FFmpeg has no encoder for H.264 or MPEG-4", Error::Code::unsupported);
  encoder.reset(avcodec_alloc_context3(codec));
  AVCodecContext& e = *encoder;
  e.width = even(format.width);
  e.height = even(format.height);
  e.pix_fmt = AV_PIX_FMT_YUV420P;
  e.time_base = {static_cast<int>(format.tick.numerator), static_cast<int>(format.tick.denominator)};
  tick = e.time_base;
  constexpr int kMpeg4Ticks = 65535;  // MPEG-4 part 2 counts no finer
  if (codec->id == AV_CODEC_ID_MPEG4 && e.time_base.den > kMpeg4Ticks) e.time_base = {1, 1000};
  const bool has_rate = format.rate_numerator > 0;
  if (has_rate) {
    e.framerate = {static_cast<int>(format.rate_numerator), static_cast<int>(format.rate_denominator)};
  }
  const double rate = has_rate ? av_q2d(e.framerate) : 25;
  e.gop_size = std::clamp(static_cast<int>(std::lround(rate)), 1, 300);  // a key frame a second starts a fragment
  e.max_b_frames = 0;                                                    // frames come out in order, and at once
  e.thread_count = options.encoder_threads;
  e.colorspace = AVCOL_SPC_SMPTE170M;
  e.color_range = AVCOL_RANGE_MPEG;
  if (codec->id == AV_CODEC_ID_H264) {
    av_opt_set(e.priv_data, "preset", "veryfast", 0);
    av_opt_set_int(e.priv_data, "crf", options.quality, 0);
  } else {
    e.flags |= AV_CODEC_FLAG_QSCALE;
    e.global_quality = FF_QP2LAMBDA * std::clamp(options.quality / 5, 1, 31);
  }
  if (output->oformat->flags & AVFMT_GLOBALHEADER) e.flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  check(avcodec_open2(&e, codec, nullptr), "its encoder does not start");

  frame->format = e.pix_fmt;
  frame->width = e.width;
  frame->height = e.height;
  check(av_frame_get_buffer(frame.get(), 0), "no memory for a frame");
}

void VideoWriter::Impl::open_file() {
  stream = avformat_new_stream(output.get(), nullptr);
  if (stream == nullptr) fail("no memory for a stream");
  stream->time_base = encoder->time_base;
  stream->avg_frame_rate = encoder->framerate;
  check(avcodec_parameters_from_context(stream->codecpar, encoder.get()), "cannot be described");
  check(avio_open(&output->pb, path.c_str(), AVIO_FLAG_WRITE), "cannot be written");
  output->flags |= AVFMT_FLAG_FLUSH_PACKETS;
  AVDictionary* settings = nullptr;
  if (path.extension() != ".mkv") {
    av_dict_set(&settings, "movflags", "frag_keyframe+empty_moov+default_base_moof", 0);
  } else {
    av_dict_set(&settings, "cluster_time_limit", "1000", 0);  // ms
  }
  const int written = avformat_write_header(output.get(), &settings);
  av_dict_free(&settings);
  check(written, "cannot be written");
}

// Null: nothing more will come.
void VideoWriter::Impl::encode(const AVFrame* picture) {
  check(avcodec_send_frame(encoder.get(), picture), "a frame cannot be encoded");
  for (;;) {
    const int got = avcodec_receive_packet(encoder.get(), packet.get());
    if (got == AVERROR(EAGAIN) || got == AVERROR_EOF) return;
    check(got, "a frame cannot be encoded");
    av_packet_rescale_ts(packet.get(), encoder->time_base, stream->time_base);
    packet->stream_index = stream->index;
    check(av_interleaved_write_frame(output.get(), packet.get()), "cannot be written");
  }
}

VideoWriter::VideoWriter(const std::filesystem::path& path, const VideoFormat& format,
                         const VideoWriterOptions& options)
    : impl_(std::make_unique<Impl>(path, format, options)) {}

VideoWriter::~VideoWriter() {
  try {
    close();
  } catch (const Error&) {
  }
}

void VideoWriter::write(const Picture& picture, std::int64_t ticks) {
  Impl& s = *impl_;
  s.check(av_frame_make_writable(s.frame.get()), "no memory for a frame");
  SwsContext* cached =
      sws_getCachedContext(s.scaler.release(), picture.width, picture.height, AV_PIX_FMT_BGR24, s.frame->width,
                           s.frame->height, AV_PIX_FMT_YUV420P, SWS_BICUBIC, nullptr, nullptr, nullptr);
  s.scaler.reset(cached);
  if (cached == nullptr) s.fail("a frame cannot be converted");
  const std::uint8_t* const planes[] = {picture.pixels.get(), nullptr, nullptr, nullptr};
  const int strides[] = {static_cast<int>(picture.row_bytes), 0, 0, 0};
  sws_scale(cached, planes, strides, 0, picture.height, s.frame->data, s.frame->linesize);
  const std::int64_t pts = av_rescale_q(ticks, s.tick, s.encoder->time_base);
  s.frame->pts = s.last_ticks == std::numeric_limits<std::int64_t>::min() ? pts : std::max(pts, s.last_ticks + 1);
  s.last_ticks = s.frame->pts;
  s.encode(s.frame.get());
}

void VideoWriter::close() {
  Impl& s = *impl_;
  if (s.is_closed) return;
  s.is_closed = true;
  s.encode(nullptr);
  s.check(av_write_trailer(s.output.get()), "cannot be finished");
  s.check(avio_closep(&s.output->pb), "cannot be finished");
}

}  // namespace vistazo::apps
