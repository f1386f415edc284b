#include "tests/support/fake_nvcuvid.h"

// clang-format off
#include <ffnvcodec/dynlink_cuda.h>
#include <ffnvcodec/dynlink_cuviddec.h>
#include <ffnvcodec/dynlink_nvcuvid.h>
// clang-format on

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>

namespace vistazo::testing {
namespace {

constexpr auto kFailed = static_cast<CUresult>(1);
constexpr int kPitchAlignment = 256;

FakeNvcuvid state;

struct Unit {
  std::span<const std::uint8_t> bytes;  // from the header on
  bool is_sequence = false, is_picture = false;
};

std::vector<Unit> units_of(std::span<const std::uint8_t> stream, bool is_hevc) {
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i + 3 < stream.size(); ++i) {
    if (stream[i] == 0 && stream[i + 1] == 0 && stream[i + 2] == 1) starts.push_back(i + 3);
  }
  std::vector<Unit> units;
  for (std::size_t n = 0; n < starts.size(); ++n) {
    const std::size_t end = n + 1 < starts.size() ? starts[n + 1] - 3 : stream.size();
    Unit unit{stream.subspan(starts[n], end - starts[n])};
    const int type = is_hevc ? unit.bytes[0] >> 1 & 0x3f : unit.bytes[0] & 0x1f;
    unit.is_sequence = type == (is_hevc ? 33 : 7);
    const std::size_t slice = is_hevc ? 2 : 1;
    const bool is_slice = is_hevc ? type < 32 : type == 1 || type == 5;
    unit.is_picture = is_slice && unit.bytes.size() > slice && (unit.bytes[slice] & 0x80) != 0;
    units.push_back(unit);
  }
  return units;
}

// The numbers that a test scripted.
std::optional<std::vector<int>> script_of(const Unit& unit, bool is_hevc) {
  const std::size_t begin = is_hevc ? 3 : 2;
  if (unit.bytes.size() < begin + 4 || std::memcmp(unit.bytes.data() + begin, "fake", 4) != 0) return std::nullopt;
  std::vector<int> numbers;
  for (std::size_t i = begin + 4; i + 2 < unit.bytes.size(); i += 3) {
    numbers.push_back((unit.bytes[i] - 1) << 8 | (unit.bytes[i + 2] - 1) << 7 | (unit.bytes[i + 1] - 1));
  }
  return numbers;
}

struct Surface {
  std::vector<std::uint8_t> samples;
  cuvidDecodeStatus status = cuvidDecodeStatus_Invalid;
  bool can_be_mapped = true;
};

struct Decoder {
  int width, height, pitch;
  std::vector<Surface> surfaces;
};

struct Shown {
  int surface;
  CUvideotimestamp timestamp;
};

struct Parser {
  CUVIDPARSERPARAMS parameters;
  bool is_hevc;
  std::vector<int> sequence;
  int surfaces = 1, next_order = 0, pictures = 0;
  std::map<int, Shown> waiting;  // by order
};

bool call_sequence(Parser& p, const std::vector<int>& s) {
  CUVIDEOFORMAT format{};
  format.codec = p.parameters.CodecType;
  format.coded_width = static_cast<unsigned>((s[0] + 15) / 16 * 16);
  format.coded_height = static_cast<unsigned>((s[1] + 15) / 16 * 16);
  format.display_area.right = s[0];
  format.display_area.bottom = s[1];
  format.video_signal_description.matrix_coefficients = static_cast<unsigned char>(s[2]);
  format.video_signal_description.video_full_range_flag = s[3] != 0;
  format.bit_depth_luma_minus8 = format.bit_depth_chroma_minus8 = static_cast<unsigned char>(s[4] - 8);
  format.chroma_format = static_cast<cudaVideoChromaFormat>(s[5]);
  format.frame_rate.numerator = static_cast<unsigned>(s[6]);
  format.frame_rate.denominator = s[6] > 0 ? 1 : 0;
  format.min_num_decode_surfaces = 4;
  p.surfaces = p.parameters.pfnSequenceCallback(p.parameters.pUserData, &format);
  p.sequence = s;
  return p.surfaces > 0;
}

// Those whose turn it is; all of them at an end.
bool show(Parser& p, bool is_end) {
  while (!p.waiting.empty() && (is_end || p.waiting.begin()->first == p.next_order)) {
    const auto [order, shown] = *p.waiting.begin();
    p.waiting.erase(p.waiting.begin());
    p.next_order = order + 1;
    CUVIDPARSERDISPINFO info{};
    info.picture_index = shown.surface;
    info.progressive_frame = 1;
    info.timestamp = shown.timestamp;
    if (p.parameters.pfnDisplayPicture(p.parameters.pUserData, &info) == 0) return false;
  }
  return true;
}

bool parse_picture(Parser& p, const Unit& unit, const CUVIDSOURCEDATAPACKET& packet) {
  const std::vector<int> script =
      script_of(unit, p.is_hevc).value_or(std::vector{p.pictures, p.pictures % 200 + 20, 0});
  if (script.at(2) == kParseFails) return false;
  ++p.pictures;
  CUVIDPICPARAMS picture{};
  const auto is_free = [&](int surface) {
    return std::ranges::none_of(p.waiting, [&](const auto& w) { return w.second.surface == surface; });
  };
  while (picture.CurrPicIdx < p.surfaces && !is_free(picture.CurrPicIdx)) ++picture.CurrPicIdx;
  if (picture.CurrPicIdx == p.surfaces) {
    ++state.overruns;
    return false;
  }
  const std::uint8_t levels[] = {static_cast<std::uint8_t>(script.at(1)), static_cast<std::uint8_t>(script.at(2))};
  picture.pBitstreamData = levels;
  picture.nBitstreamDataLen = sizeof(levels);
  if (p.parameters.pfnDecodePicture(p.parameters.pUserData, &picture) == 0) return false;
  p.waiting[script.at(0)] = {picture.CurrPicIdx, packet.timestamp};
  return show(p, false);
}

bool parse(Parser& p, const CUVIDSOURCEDATAPACKET& packet) {
  for (const Unit& unit : units_of({packet.payload, packet.payload_size}, p.is_hevc)) {
    if (unit.is_sequence) {
      const std::vector<int> sequence =
          script_of(unit, p.is_hevc).value_or(std::vector{state.real_width, state.real_height, 2, 0, 8, 1, 0});
      if (sequence == p.sequence) continue;
      if (!show(p, true) || !call_sequence(p, sequence)) return false;
      p.next_order = 0;
    } else if (unit.is_picture && !p.sequence.empty() && !parse_picture(p, unit, packet)) {
      return false;
    }
  }
  return (packet.flags & CUVID_PKT_ENDOFSTREAM) == 0 || show(p, true);
}

Decoder& decoder_of(CUvideodecoder handle) {
  return *static_cast<Decoder*>(handle);
}

}  // namespace
}  // namespace vistazo::testing

using namespace vistazo::testing;

extern "C" {

FakeNvcuvid* fake_nvcuvid_state() {
  return &state;
}

CUresult cuvidCreateVideoParser(CUvideoparser* parser, CUVIDPARSERPARAMS* parameters) {
  ++state.parsers;
  state.display_delays.push_back(parameters->ulMaxDisplayDelay);
  *parser = new Parser{*parameters, parameters->CodecType == cudaVideoCodec_HEVC, {}, 1, 0, 0, {}};
  return CUDA_SUCCESS;
}

CUresult cuvidDestroyVideoParser(CUvideoparser parser) {
  --state.parsers;
  delete static_cast<Parser*>(parser);
  return CUDA_SUCCESS;
}

CUresult cuvidParseVideoData(CUvideoparser parser, CUVIDSOURCEDATAPACKET* packet) {
  ++state.packets;
  state.last_flags = packet->flags;
  return parse(*static_cast<Parser*>(parser), *packet) ? CUDA_SUCCESS : kFailed;
}

CUresult cuvidGetDecoderCaps(CUVIDDECODECAPS* caps) {
  caps->bIsSupported = state.is_codec_supported && caps->nBitDepthMinus8 == 0;
  caps->nOutputFormatMask = state.has_nv12 ? 1 : 2;
  caps->nMinWidth = caps->nMinHeight = 16;
  caps->nMaxWidth = state.max_width;
  caps->nMaxHeight = state.max_height;
  caps->nMaxMBCount = state.max_width * state.max_height / 256;
  return CUDA_SUCCESS;
}

CUresult cuvidCreateDecoder(CUvideodecoder* decoder, CUVIDDECODECREATEINFO* info) {
  if (state.is_creation_refused) return static_cast<CUresult>(2);  // out of memory
  const auto width = static_cast<int>(info->ulTargetWidth), height = static_cast<int>(info->ulTargetHeight);
  const int pitch = (width + kPitchAlignment - 1) / kPitchAlignment * kPitchAlignment;
  const auto bytes = static_cast<std::size_t>(pitch * height * 3 / 2);
  *decoder = new Decoder{width, height, pitch,
                         std::vector(info->ulNumDecodeSurfaces, Surface{std::vector<std::uint8_t>(bytes, 0)})};
  ++state.decoders;
  ++state.decoders_made;
  return CUDA_SUCCESS;
}

CUresult cuvidDestroyDecoder(CUvideodecoder decoder) {
  --state.decoders;
  delete &decoder_of(decoder);
  return CUDA_SUCCESS;
}

CUresult cuvidDecodePicture(CUvideodecoder decoder, CUVIDPICPARAMS* picture) {
  Decoder& d = decoder_of(decoder);
  Surface& s = d.surfaces.at(static_cast<std::size_t>(picture->CurrPicIdx));
  const int fault = picture->pBitstreamData[1];
  if (fault == kDecodeRefused) return kFailed;
  ++state.pictures_decoded;
  const auto luma = static_cast<std::ptrdiff_t>(d.pitch) * d.height;
  std::fill(s.samples.begin(), s.samples.begin() + luma, picture->pBitstreamData[0]);
  std::fill(s.samples.begin() + luma, s.samples.end(), std::uint8_t{128});
  s.status = fault == kDamaged     ? cuvidDecodeStatus_Error
             : fault == kConcealed ? cuvidDecodeStatus_Error_Concealed
                                   : cuvidDecodeStatus_Success;
  s.can_be_mapped = fault != kMapFails;
  return CUDA_SUCCESS;
}

CUresult cuvidGetDecodeStatus(CUvideodecoder decoder, int index, CUVIDGETDECODESTATUS* status) {
  status->decodeStatus = decoder_of(decoder).surfaces.at(static_cast<std::size_t>(index)).status;
  return CUDA_SUCCESS;
}

CUresult cuvidMapVideoFrame64(CUvideodecoder decoder, int index, unsigned long long* pixels, unsigned* pitch,
                              CUVIDPROCPARAMS* processing) {
  Decoder& d = decoder_of(decoder);
  Surface& s = d.surfaces.at(static_cast<std::size_t>(index));
  if (!s.can_be_mapped) return kFailed;
  if (processing->output_stream == kFakeStream) ++state.stream_calls;
  ++state.mapped;
  *pixels = reinterpret_cast<unsigned long long>(s.samples.data());
  *pitch = static_cast<unsigned>(d.pitch);
  return CUDA_SUCCESS;
}

CUresult cuvidUnmapVideoFrame64(CUvideodecoder, unsigned long long) {
  --state.mapped;
  return CUDA_SUCCESS;
}

}  // extern "C"
