#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

// Owners of FFmpeg's objects.
namespace vistazo::apps {

struct FreeLibav {
  void operator()(AVCodecContext* p) const { avcodec_free_context(&p); }
  void operator()(AVFrame* p) const { av_frame_free(&p); }
  void operator()(AVPacket* p) const { av_packet_free(&p); }
  void operator()(SwsContext* p) const { sws_freeContext(p); }
};
template <typename T>
using LibavOwner = std::unique_ptr<T, FreeLibav>;

// FFmpeg writes to stderr by itself; what matters reaches us as an error code.
inline void silence_libav() {
  av_log_set_level(AV_LOG_QUIET);
}

// "Connection refused", in the words of FFmpeg.
inline std::string libav_error(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof text);
  return text;
}

}  // namespace vistazo::apps
