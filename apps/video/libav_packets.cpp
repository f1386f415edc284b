#include "apps/video/libav_packets.h"

extern "C" {
#include <libavcodec/bsf.h>
}

#include <fmt/core.h>
#include <vistazo/error.h>

#include <utility>

namespace vistazo::apps {
namespace {

struct FreeFilter {
  void operator()(AVBSFContext* p) const { av_bsf_free(&p); }
};

class LibavPackets final : public PacketSource {
 public:
  explicit LibavPackets(std::shared_ptr<LibavInput> input) : input_(std::move(input)) {
    const AVCodecParameters& parameters = *input_->stream().codecpar;
    is_hevc_ = parameters.codec_id == AV_CODEC_ID_HEVC;
    if (!is_hevc_ && parameters.codec_id != AV_CODEC_ID_H264) {
      throw Error(
          Error::Code::unsupported,
          fmt::format("NVDEC: its pictures are {}; H.264 and H.265 are decoded on a GPU", input_->codec().name));
    }
    if (input_->quarter_turns() != 0) {
      throw Error(Error::Code::unsupported, "NVDEC: its pictures are to be turned, which is done on the CPU");
    }
    // Leaves streams that have start codes already as they are.
    const char* name = is_hevc_ ? "hevc_mp4toannexb" : "h264_mp4toannexb";
    const AVBitStreamFilter* filter = av_bsf_get_by_name(name);
    if (filter == nullptr) {
      throw Error(Error::Code::unsupported, fmt::format("NVDEC: this build of FFmpeg has no filter {}", name));
    }
    AVBSFContext* context = nullptr;
    check(av_bsf_alloc(filter, &context));
    filter_.reset(context);
    check(avcodec_parameters_copy(filter_->par_in, &parameters));
    filter_->time_base_in = input_->stream().time_base;
    check(av_bsf_init(filter_.get()));
  }

  VideoCodec codec() const override { return is_hevc_ ? VideoCodec::hevc : VideoCodec::h264; }
  VideoFormat format() const override { return input_->format(); }
  void start_clock() override { input_->start_clock(); }

  bool read(VideoPacket& packet) override {
    for (;;) {
      av_packet_unref(packet_.get());
      const int got = av_bsf_receive_packet(filter_.get(), packet_.get());
      if (got == AVERROR_EOF) return false;
      if (got == 0) break;
      if (got != AVERROR(EAGAIN)) {
        packet = {{}, std::nullopt, input_->packet_arrived(), /*is_damaged=*/true};
        return true;
      }
      if (!input_->read(*packet_)) {
        check(av_bsf_send_packet(filter_.get(), nullptr));
        continue;
      }
      check(av_bsf_send_packet(filter_.get(), packet_.get()));
    }
    packet = {{packet_->data, static_cast<std::size_t>(packet_->size)}, std::nullopt, input_->packet_arrived()};
    if (packet_->pts != AV_NOPTS_VALUE) packet.ticks = packet_->pts;
    return true;
  }

 private:
  static void check(int result) {
    if (result < 0) {
      throw Error(Error::Code::file, fmt::format("its packets cannot be converted: {}", libav_error(result)));
    }
  }

  const std::shared_ptr<LibavInput> input_;
  bool is_hevc_ = false;
  std::unique_ptr<AVBSFContext, FreeFilter> filter_;
  LibavOwner<AVPacket> packet_{av_packet_alloc()};
};

}  // namespace

std::unique_ptr<PacketSource> make_libav_packets(std::shared_ptr<LibavInput> input) {
  return std::make_unique<LibavPackets>(std::move(input));
}

}  // namespace vistazo::apps
