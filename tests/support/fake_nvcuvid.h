#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

// A library with the functions of NVIDIA's video decoders that vistazo uses, over streams that tests script, and what
// it was asked to do. fake_nvcuvid.cpp is built into a library of its own, which is loaded as NVIDIA's would be.
namespace vistazo::testing {

// What it counts, and how it misbehaves. Of the whole process.
struct FakeNvcuvid {
  int parsers = 0, decoders = 0, mapped = 0;  // alive now
  int decoders_made = 0, pictures_decoded = 0, packets = 0;
  int overruns = 0;      // pictures for which no surface was free
  int stream_calls = 0;  // mapped on the stream that was given
  unsigned long last_flags = 0;
  std::vector<unsigned> display_delays;  // of the parsers

  bool is_codec_supported = true, has_nv12 = true, is_creation_refused = false;
  unsigned max_width = 4096, max_height = 4096;
  // What a sequence header that was not scripted stands for: of real streams, whose pictures are shown as they come.
  int real_width = 64, real_height = 48;
};

// The name of the function of the library that returns its FakeNvcuvid.
constexpr const char* kFakeState = "fake_nvcuvid_state";
using FakeStateFunction = FakeNvcuvid*();

// The surfaces are written as if on this stream.
inline void* const kFakeStream = reinterpret_cast<void*>(0x5700);

struct FakeSequence {
  int width = 64, height = 48;
  int matrix = 1, is_full_range = 0, bit_depth = 8, chroma = 1 /* 4:2:0 */;
  int rate = 25;  // frames a second; 0: not told
  bool is_hevc = false;
};

enum FakeFault : std::uint8_t {
  kNoFault = 0,
  kDecodeRefused = 1,  // cuvidDecodePicture fails
  kDamaged = 2,        // the status afterwards is an error
  kConcealed = 3,
  kMapFails = 4,
  kParseFails = 5,  // cuvidParseVideoData fails, and nothing is decoded
};

// Annex B: what the fake understands, and, but for its contents, what real streams look like.
inline std::string fake_unit(std::uint8_t header, std::initializer_list<int> bytes, bool is_hevc) {
  std::string unit("\0\0\0\1", 4);
  unit += static_cast<char>(header);
  if (is_hevc) unit += '\1';
  // A slice's first bit, which is set, says that a picture begins.
  unit += "\xff";
  unit += "fake";
  // One at a time, never 0: no start code comes about.
  for (const int b : bytes) {
    unit += static_cast<char>(1 + (b >> 8));
    unit += static_cast<char>(1 + (b & 0x7f));
    unit += static_cast<char>(1 + (b >> 7 & 1));
  }
  return unit;
}

inline std::string fake_sequence(const FakeSequence& s) {
  return fake_unit(s.is_hevc ? 33 << 1 : 0x67,
                   {s.width, s.height, s.matrix, s.is_full_range, s.bit_depth, s.chroma, s.rate}, s.is_hevc);
}

// order: when it is shown, counted in the sequence. A picture of one level of luma, without colour.
inline std::string fake_picture(int order, int level, FakeFault fault = kNoFault, bool is_hevc = false) {
  return fake_unit(is_hevc ? 1 << 1 : 0x65, {order, level, fault}, is_hevc);
}

}  // namespace vistazo::testing
