#include "engine/nvdec/decoder.h"

#include <algorithm>
#include <array>
#include <deque>
#include <exception>
#include <utility>

#include "engine/gpu_video_impl.h"
#include "engine/log.h"
#include "engine/nvdec/library.h"
#include "kernels/base/error.h"

// NVIDIA's parser finds pictures in the stream and calls back, on the calling thread: at the start of a sequence, when
// a picture is to be decoded, and, in the order of showing, when one is to be shown. Only the last of these waits for
// the video engine: with a display delay of several pictures it has those to work at meanwhile.
namespace vistazo {
namespace {

constexpr unsigned kFileDelay = 4;       // pictures between decoding and showing; NVIDIA recommends 2 to 4
constexpr int kMostSurfaces = 64;        // that a sequence asks for; H.264 and H.265 need at most 17 and a few
constexpr int kMostFailures = 30;        // packets in a row: then it is not the stream that is damaged
constexpr unsigned kOutputSurfaces = 2;  // mapped at once: one, and one to spare

const char* name_of(VideoCodec codec) {
  return codec == VideoCodec::h264 ? "H.264" : "H.265";
}

const char* name_of(cudaVideoChromaFormat format) {
  constexpr const char* kNames[] = {"4:0:0", "4:2:0", "4:2:2", "4:4:4"};
  return format >= 0 && format <= cudaVideoChromaFormat_444 ? kNames[format] : "unknown chroma";
}

// ITU-T H.273's numbers. What is not told is taken for BT.601, as FFmpeg's converter does.
YuvStandard standard_of(int matrix_coefficients) {
  constexpr int kBt709 = 1, kBt2020 = 9, kBt2020Constant = 10;
  if (matrix_coefficients == kBt709) return YuvStandard::bt709;
  const bool is_2020 = matrix_coefficients == kBt2020 || matrix_coefficients == kBt2020Constant;
  return is_2020 ? YuvStandard::bt2020 : YuvStandard::bt601;
}

class NvdecDecoder final : public GpuVideoDecoder::Impl {
 public:
  NvdecDecoder(VideoCodec codec, bool keeps_up, const NvcuvidLibrary& library, std::unique_ptr<Surfaces> surfaces);
  ~NvdecDecoder() override;

  void decode(std::span<const std::uint8_t> packet, std::int64_t timestamp) override;
  void flush() override;
  bool next(GpuFrame& frame) override;
  std::int64_t broken_frames() const override { return broken_; }
  GpuVideoDecoder::Rate rate() const override { return rate_; }

 private:
  void require_decodable(const CUVIDEOFORMAT& format) const;
  int start_sequence(const CUVIDEOFORMAT& format);
  void create_decoder(const CUVIDEOFORMAT& format, int surfaces);
  void destroy_decoder();
  void decode_picture(CUVIDPICPARAMS& picture);
  void show(const CUVIDPARSERDISPINFO& shown);
  void parse(CUVIDSOURCEDATAPACKET& packet);
  bool is_damaged(int picture) const;

  void check(CUresult result, const char* call) const {
    if (result != CUDA_SUCCESS) {
      fail(Error::Code::device, "NVDEC: {} failed with CUDA's error {}", call, static_cast<int>(result));
    }
  }

  // Exceptions may not cross NVIDIA's library: they wait in failure_ until it has returned.
  template <typename Work>
  int guarded(Work&& work) {
    try {
      return work();
    } catch (...) {
      failure_ = std::current_exception();
      return 0;
    }
  }
  static NvdecDecoder& self(void* user) { return *static_cast<NvdecDecoder*>(user); }

  const VideoCodec codec_;
  const cudaVideoCodec codec_number_;
  const bool keeps_up_;
  const NvcuvidLibrary library_;
  const std::unique_ptr<Surfaces> surfaces_;
  CUvideoparser parser_ = nullptr;
  CUvideodecoder decoder_ = nullptr;
  CUVIDEOFORMAT format_{};  // of decoder_
  int width_ = 0, height_ = 0, decode_surfaces_ = 0;
  std::array<bool, kMostSurfaces> is_refused_{};  // by surface: its picture could not be decoded
  std::deque<GpuFrame> ready_;
  std::int64_t broken_ = 0;
  int failures_ = 0;
  GpuVideoDecoder::Rate rate_;
  std::exception_ptr failure_;
};

NvdecDecoder::NvdecDecoder(VideoCodec codec, bool keeps_up, const NvcuvidLibrary& library,
                           std::unique_ptr<Surfaces> surfaces)
    : codec_(codec),
      codec_number_(codec == VideoCodec::h264 ? cudaVideoCodec_H264 : cudaVideoCodec_HEVC),
      keeps_up_(keeps_up),
      library_(library),
      surfaces_(std::move(surfaces)) {
  CUVIDPARSERPARAMS parameters{};
  parameters.CodecType = codec_number_;
  parameters.ulMaxNumDecodeSurfaces = 1;  // until start_sequence() says
  parameters.ulMaxDisplayDelay = keeps_up ? 0 : kFileDelay;
  parameters.pUserData = this;
  parameters.pfnSequenceCallback = [](void* user, CUVIDEOFORMAT* format) {
    return self(user).guarded([&] { return self(user).start_sequence(*format); });
  };
  parameters.pfnDecodePicture = [](void* user, CUVIDPICPARAMS* picture) {
    return self(user).guarded([&] { return self(user).decode_picture(*picture), 1; });
  };
  parameters.pfnDisplayPicture = [](void* user, CUVIDPARSERDISPINFO* shown) {
    if (shown == nullptr) return 1;  // the end of the stream
    return self(user).guarded([&] { return self(user).show(*shown), 1; });
  };
  const Surfaces::Turn turn(*surfaces_);
  check(library_.create_video_parser(&parser_, &parameters), "cuvidCreateVideoParser");
}

NvdecDecoder::~NvdecDecoder() {
  const Surfaces::Turn turn(*surfaces_);
  library_.destroy_video_parser(parser_);
  destroy_decoder();
}

void NvdecDecoder::require_decodable(const CUVIDEOFORMAT& f) const {
  const auto refuse = [&](const std::string& what) {
    fail(Error::Code::unsupported, "NVDEC: {}; decode it on the CPU", what);
  };
  CUVIDDECODECAPS caps{};
  caps.eCodecType = codec_number_;
  caps.eChromaFormat = f.chroma_format;
  caps.nBitDepthMinus8 = f.bit_depth_luma_minus8;
  check(library_.get_decoder_caps(&caps), "cuvidGetDecoderCaps");
  if (f.chroma_format != cudaVideoChromaFormat_420 || caps.bIsSupported == 0 ||
      (caps.nOutputFormatMask & (1u << cudaVideoSurfaceFormat_NV12)) == 0) {
    refuse(fmt::format("this GPU does not decode {} of {} bits and {} to 8 bits", name_of(codec_),
                       8 + f.bit_depth_luma_minus8, name_of(f.chroma_format)));
  }
  const std::uint64_t macroblocks = std::uint64_t{f.coded_width} * f.coded_height / 256;
  if (f.coded_width > caps.nMaxWidth || f.coded_height > caps.nMaxHeight || f.coded_width < caps.nMinWidth ||
      f.coded_height < caps.nMinHeight || macroblocks > caps.nMaxMBCount) {
    refuse(fmt::format("this GPU decodes {} of {} x {} to {} x {}, not {} x {}", name_of(codec_), caps.nMinWidth,
                       caps.nMinHeight, caps.nMaxWidth, caps.nMaxHeight, f.coded_width, f.coded_height));
  }
}

// -> the surfaces that the parser has to number pictures with.
int NvdecDecoder::start_sequence(const CUVIDEOFORMAT& f) {
  require_decodable(f);
  rate_ = {f.frame_rate.numerator, f.frame_rate.denominator};
  if (f.frame_rate.numerator == 0 || f.frame_rate.denominator == 0) rate_ = {};
  const auto& a = f.display_area;
  const auto& b = format_.display_area;
  const bool is_alike = decoder_ != nullptr && f.coded_width == format_.coded_width &&
                        f.coded_height == format_.coded_height &&
                        f.bit_depth_luma_minus8 == format_.bit_depth_luma_minus8 &&
                        f.min_num_decode_surfaces == format_.min_num_decode_surfaces && a.left == b.left &&
                        a.top == b.top && a.right == b.right && a.bottom == b.bottom;
  format_ = f;  // colours may be others
  if (!is_alike) {
    const int surfaces = std::max<int>(f.min_num_decode_surfaces, 1) + (keeps_up_ ? 1 : static_cast<int>(kFileDelay));
    if (surfaces > kMostSurfaces) fail(Error::Code::unsupported, "NVDEC: the stream asks for {} surfaces", surfaces);
    // Pictures of the sequence before were shown: the parser ends a sequence before it starts the next.
    destroy_decoder();
    create_decoder(f, surfaces);
    log()->debug("NVDEC: {} of {} x {}, {} surfaces", name_of(codec_), width_, height_, surfaces);
  }
  return decode_surfaces_;
}

void NvdecDecoder::create_decoder(const CUVIDEOFORMAT& f, int surfaces) {
  // The engine scales what is not even.
  const auto even = [](int size) { return size + size % 2; };
  width_ = f.display_area.right - f.display_area.left;
  height_ = f.display_area.bottom - f.display_area.top;
  if (width_ < 1 || height_ < 1) fail(Error::Code::unsupported, "NVDEC: a stream of {} x {} pixels", width_, height_);
  CUVIDDECODECREATEINFO info{};
  info.CodecType = codec_number_;
  info.ChromaFormat = f.chroma_format;
  info.bitDepthMinus8 = f.bit_depth_luma_minus8;
  info.OutputFormat = cudaVideoSurfaceFormat_NV12;
  info.DeinterlaceMode = cudaVideoDeinterlaceMode_Weave;  // fields as they are, as a CPU decoder gives them
  info.ulCreationFlags = cudaVideoCreate_PreferCUVID;
  info.ulWidth = info.ulMaxWidth = f.coded_width;
  info.ulHeight = info.ulMaxHeight = f.coded_height;
  info.display_area.left = static_cast<short>(f.display_area.left);
  info.display_area.top = static_cast<short>(f.display_area.top);
  info.display_area.right = static_cast<short>(f.display_area.left + even(width_));
  info.display_area.bottom = static_cast<short>(f.display_area.top + even(height_));
  info.ulTargetWidth = static_cast<tcu_ulong>(even(width_));
  info.ulTargetHeight = static_cast<tcu_ulong>(even(height_));
  info.ulNumDecodeSurfaces = static_cast<tcu_ulong>(surfaces);
  info.ulNumOutputSurfaces = kOutputSurfaces;
  check(library_.create_decoder(&decoder_, &info), "cuvidCreateDecoder");
  decode_surfaces_ = surfaces;
  is_refused_.fill(false);
}

void NvdecDecoder::destroy_decoder() {
  if (decoder_ != nullptr) library_.destroy_decoder(decoder_);
  decoder_ = nullptr;
}

// A picture that is refused is one frame lost, not the stream.
void NvdecDecoder::decode_picture(CUVIDPICPARAMS& picture) {
  if (decoder_ == nullptr || picture.CurrPicIdx < 0 || picture.CurrPicIdx >= decode_surfaces_) {
    fail(Error::Code::device, "NVDEC: a picture for surface {} of {}", picture.CurrPicIdx, decode_surfaces_);
  }
  const bool is_refused = library_.decode_picture(decoder_, &picture) != CUDA_SUCCESS;
  bool& known = is_refused_[static_cast<std::size_t>(picture.CurrPicIdx)];
  known = is_refused || (picture.second_field != 0 && known);
}

bool NvdecDecoder::is_damaged(int picture) const {
  if (library_.get_decode_status == nullptr) return false;
  CUVIDGETDECODESTATUS status{};
  if (library_.get_decode_status(decoder_, picture, &status) != CUDA_SUCCESS) return false;
  return status.decodeStatus == cuvidDecodeStatus_Error || status.decodeStatus == cuvidDecodeStatus_Error_Concealed;
}

void NvdecDecoder::show(const CUVIDPARSERDISPINFO& shown) {
  if (decoder_ == nullptr || shown.picture_index < 0 || shown.picture_index >= decode_surfaces_) {
    fail(Error::Code::device, "NVDEC: surface {} of {} is shown", shown.picture_index, decode_surfaces_);
  }
  if (is_refused_[static_cast<std::size_t>(shown.picture_index)]) {
    ++broken_;
    return;
  }
  struct Mapped {
    const NvdecDecoder& owner;
    unsigned long long pixels = 0;
    unsigned pitch = 0;
    ~Mapped() {
      if (pixels != 0) owner.library_.unmap_video_frame(owner.decoder_, pixels);
    }
  } mapped{*this};
  CUVIDPROCPARAMS processing{};
  processing.progressive_frame = shown.progressive_frame;
  processing.second_field = shown.repeat_first_field + 1;
  processing.top_field_first = shown.top_field_first;
  processing.unpaired_field = shown.repeat_first_field < 0;
  processing.output_stream = surfaces_->stream();
  // Waits for the engine.
  check(library_.map_video_frame(decoder_, shown.picture_index, &mapped.pixels, &mapped.pitch, &processing),
        "cuvidMapVideoFrame64");
  if (is_damaged(shown.picture_index)) {
    ++broken_;
    return;
  }
  const auto* luma = reinterpret_cast<const std::uint8_t*>(mapped.pixels);
  const auto pitch = static_cast<std::ptrdiff_t>(mapped.pitch);
  const std::uint8_t* chroma = luma + pitch * (height_ + height_ % 2);
  const auto& signal = format_.video_signal_description;
  ready_.push_back(surfaces_->convert({luma, chroma, chroma + 1, width_, height_, pitch, pitch, 2,
                                       standard_of(signal.matrix_coefficients), signal.video_full_range_flag != 0}));
  ready_.back().timestamp = shown.timestamp;
}

void NvdecDecoder::parse(CUVIDSOURCEDATAPACKET& packet) {
  const Surfaces::Turn turn(*surfaces_);
  const CUresult result = library_.parse_video_data(parser_, &packet);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  if (result == CUDA_SUCCESS) {
    failures_ = 0;
    return;
  }
  ++broken_;
  if (++failures_ >= kMostFailures) check(result, "cuvidParseVideoData");
}

void NvdecDecoder::decode(std::span<const std::uint8_t> bytes, std::int64_t timestamp) {
  CUVIDSOURCEDATAPACKET packet{};
  packet.flags = CUVID_PKT_TIMESTAMP;
  if (keeps_up_) packet.flags |= CUVID_PKT_ENDOFPICTURE;  // else a picture waits for the next one's beginning
  packet.payload = bytes.data();
  packet.payload_size = static_cast<tcu_ulong>(bytes.size());
  packet.timestamp = timestamp;
  parse(packet);
}

void NvdecDecoder::flush() {
  CUVIDSOURCEDATAPACKET packet{};
  packet.flags = CUVID_PKT_ENDOFSTREAM;
  parse(packet);
}

bool NvdecDecoder::next(GpuFrame& frame) {
  if (ready_.empty()) return false;
  frame = std::move(ready_.front());
  ready_.pop_front();
  return true;
}

}  // namespace

std::unique_ptr<GpuVideoDecoder::Impl> make_nvdec(VideoCodec codec, bool keeps_up, std::unique_ptr<Surfaces> surfaces,
                                                  const char* library) {
  return std::make_unique<NvdecDecoder>(codec, keeps_up, load_nvcuvid(library), std::move(surfaces));
}

}  // namespace vistazo
