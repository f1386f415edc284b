#ifdef VISTAZO_FAKE_NVCUVID

#include <doctest/doctest.h>
#include <vistazo/detector.h>

#include <string>
#include <vector>

#include "tests/support/fake_gpu.h"

namespace vistazo {
namespace {

using namespace testing;

struct Result {
  std::vector<GpuFrame> frames;
  std::int64_t broken = 0;
};

// Decodes packets whose timestamps are 100, 101, ...
class Decoding {
 public:
  explicit Decoding(VideoCodec codec = VideoCodec::h264, bool keeps_up = false)
      : decoder_(make_fake_decoder(codec, keeps_up, turns_)) {}
  ~Decoding() { CHECK(turns_ == 0); }

  void feed(const std::string& packet) {
    decoder_.decode({reinterpret_cast<const std::uint8_t*>(packet.data()), packet.size()}, 100 + packets_++);
    take();
  }
  Result finish() {
    decoder_.flush();
    take();
    result_.broken = decoder_.broken_frames();
    return result_;
  }
  const GpuVideoDecoder& decoder() const { return decoder_; }
  std::size_t frames() const { return result_.frames.size(); }

 private:
  void take() {
    for (GpuFrame frame; decoder_.next(frame);) result_.frames.push_back(frame);
  }

  int turns_ = 0;
  GpuVideoDecoder decoder_;
  std::int64_t packets_ = 0;
  Result result_;
};

int grey_of(const GpuFrame& frame) {
  const std::uint8_t* centre = frame.pixels.get() + frame.height / 2 * frame.row_bytes + 3 * (frame.width / 2);
  CHECK(centre[0] == centre[1]);
  CHECK(centre[1] == centre[2]);
  return centre[0];
}

// Limited range: luma 16 is black, 235 white.
int grey_of_luma(int luma) {
  return (2 * (luma - 16) * 255 + 219) / (2 * 219);
}

std::string message_of(Decoding& decoding, const std::string& packet, Error::Code code) {
  try {
    decoding.feed(packet);
  } catch (const Error& e) {
    CHECK(e.code == code);
    return e.what();
  }
  return "";
}

TEST_CASE("nvdec: frames come in the order they are shown, with their packets' timestamps") {
  for (const bool is_hevc : {false, true}) {
    const FakeNvcuvid& fake = reset_fake_nvcuvid();
    Decoding decoding(is_hevc ? VideoCodec::hevc : VideoCodec::h264);
    const int orders[] = {0, 3, 1, 2, 6, 4, 5};  // as with B frames
    for (const int order : orders) {
      std::string packet = fake_picture(order, 30 + 20 * order, kNoFault, is_hevc);
      if (order == 0) packet = fake_sequence({.is_hevc = is_hevc}) + packet;
      decoding.feed(packet);
    }
    const auto [frames, broken] = decoding.finish();
    REQUIRE(frames.size() == 7);
    CHECK(broken == 0);
    const int packet_of[] = {0, 2, 3, 1, 5, 6, 4};
    for (std::size_t i = 0; i < 7; ++i) {
      CHECK(frames[i].timestamp == 100 + packet_of[i]);
      CHECK(grey_of(frames[i]) == grey_of_luma(30 + 20 * static_cast<int>(i)));
      CHECK(frames[i].width == 64);
      CHECK(frames[i].height == 48);
    }
    CHECK(fake.mapped == 0);
    CHECK(fake.overruns == 0);
    CHECK(fake.stream_calls == 7);
    CHECK(decoding.decoder().rate().numerator == 25);
  }
}

TEST_CASE("nvdec: nothing is left behind, nor lost by frames that outlive their decoder") {
  const FakeNvcuvid& fake = reset_fake_nvcuvid();
  std::vector<GpuFrame> frames;
  {
    Decoding decoding;
    decoding.feed(fake_sequence({}) + fake_picture(0, 50));
    decoding.feed(fake_picture(2, 60));  // never shown: 1 is missing
    CHECK(fake.decoders == 1);
    frames = decoding.finish().frames;
  }
  CHECK(fake.parsers == 0);
  CHECK(fake.decoders == 0);
  CHECK(fake.mapped == 0);
  REQUIRE(frames.size() == 2);
  CHECK(grey_of(frames[1]) == grey_of_luma(60));
}

TEST_CASE("nvdec: a new size makes a new decoder, the same sequence again does not") {
  const FakeNvcuvid& fake = reset_fake_nvcuvid();
  Decoding decoding;
  decoding.feed(fake_sequence({}) + fake_picture(0, 50) + fake_picture(2, 70));
  decoding.feed(fake_sequence({}) + fake_picture(1, 60));
  CHECK(fake.decoders_made == 1);
  decoding.feed(fake_picture(4, 80));  // waits for 3 until the sequence ends
  decoding.feed(fake_sequence({.width = 32, .height = 30}) + fake_picture(0, 90));
  CHECK(fake.decoders_made == 2);
  CHECK(fake.decoders == 1);
  const auto [frames, broken] = decoding.finish();
  REQUIRE(frames.size() == 5);
  CHECK(broken == 0);
  CHECK(frames[3].width == 64);
  CHECK(grey_of(frames[3]) == grey_of_luma(80));
  CHECK(frames[4].width == 32);
  CHECK(frames[4].height == 30);
  CHECK(grey_of(frames[4]) == grey_of_luma(90));
}

TEST_CASE("nvdec: other colours alone keep the decoder") {
  const FakeNvcuvid& fake = reset_fake_nvcuvid();
  Decoding decoding;
  decoding.feed(fake_sequence({}) + fake_picture(0, 200));
  decoding.feed(fake_sequence({.is_full_range = 1}) + fake_picture(0, 200));
  const std::vector<GpuFrame> frames = decoding.finish().frames;
  REQUIRE(frames.size() == 2);
  CHECK(fake.decoders_made == 1);
  CHECK(grey_of(frames[0]) == grey_of_luma(200));
  CHECK(grey_of(frames[1]) == 200);
}

TEST_CASE("nvdec: a damaged picture is left out and counted") {
  const FakeNvcuvid& fake = reset_fake_nvcuvid();
  for (const FakeFault fault : {kDecodeRefused, kDamaged, kConcealed, kParseFails}) {
    CAPTURE(static_cast<int>(fault));
    Decoding decoding;
    decoding.feed(fake_sequence({}) + fake_picture(0, 50));
    decoding.feed(fake_picture(1, 60, fault));
    // What could not be parsed is never shown: the order goes on with the next.
    for (int i = fault == kParseFails ? 1 : 2, level = 70; level < 100; ++i, level += 10) {
      decoding.feed(fake_picture(i, level));
    }
    const auto [frames, broken] = decoding.finish();
    CHECK(broken == 1);
    REQUIRE(frames.size() == 4);
    CHECK(grey_of(frames[1]) == grey_of_luma(70));
    CHECK(fake.mapped == 0);
  }
}

TEST_CASE("nvdec: pictures before the first sequence are skipped") {
  reset_fake_nvcuvid();
  Decoding decoding;
  decoding.feed(fake_picture(7, 50));
  decoding.feed("\x12 no stream at all");
  decoding.feed("");
  CHECK(decoding.frames() == 0);
  decoding.feed(fake_sequence({}) + fake_picture(0, 60));
  CHECK(decoding.finish().frames.size() == 1);
}

TEST_CASE("nvdec: a library that fails every time is an error, not an empty video") {
  reset_fake_nvcuvid();
  Decoding decoding;
  decoding.feed(fake_sequence({}) + fake_picture(0, 50));
  std::string message;
  int packets = 0;
  for (; message.empty() && packets < 1000; ++packets) {
    message = message_of(decoding, fake_picture(1, 60, kParseFails), Error::Code::device);
  }
  CHECK(packets == 30);
  CHECK(message == "NVDEC: cuvidParseVideoData failed with CUDA's error 1");
}

TEST_CASE("nvdec: an error inside the library's calls comes out as what it was") {
  const FakeNvcuvid& fake = reset_fake_nvcuvid();
  Decoding decoding;
  CHECK(message_of(decoding, fake_sequence({}) + fake_picture(0, 50, kMapFails), Error::Code::device) ==
        "NVDEC: cuvidMapVideoFrame64 failed with CUDA's error 1");
  CHECK(fake.mapped == 0);
  decoding.feed(fake_picture(1, 60));  // and the decoder can go on
  CHECK(decoding.finish().frames.size() == 1);
}

TEST_CASE("nvdec: streams that this GPU does not decode say so") {
  FakeNvcuvid& fake = reset_fake_nvcuvid();
  const auto refusal = [&](const FakeSequence& sequence) {
    Decoding decoding;
    return message_of(decoding, fake_sequence(sequence) + fake_picture(0, 50), Error::Code::unsupported);
  };
  CHECK(refusal({.bit_depth = 10}) ==
        "NVDEC: this GPU does not decode H.264 of 10 bits and 4:2:0 to 8 bits; decode it on the CPU");
  CHECK(refusal({.chroma = 2}) ==
        "NVDEC: this GPU does not decode H.264 of 8 bits and 4:2:2 to 8 bits; decode it on the CPU");
  fake.max_width = 48;
  CHECK(refusal({}) == "NVDEC: this GPU decodes H.264 of 16 x 16 to 48 x 4096, not 64 x 48; decode it on the CPU");
  fake.max_width = 4096;
  fake.has_nv12 = false;
  CHECK_FALSE(refusal({}).empty());
  fake.has_nv12 = true;
  fake.is_codec_supported = false;
  CHECK_FALSE(refusal({}).empty());
  fake.is_codec_supported = true;
  fake.is_creation_refused = true;
  Decoding decoding;
  CHECK(message_of(decoding, fake_sequence({}), Error::Code::device) ==
        "NVDEC: cuvidCreateDecoder failed with CUDA's error 2");
  CHECK(fake.decoders == 0);
}

TEST_CASE("nvdec: live decoders hold no picture back") {
  const FakeNvcuvid& fake = reset_fake_nvcuvid();
  constexpr unsigned long kEndOfPicture = 8, kTimestamp = 2;
  Decoding live(VideoCodec::h264, true);
  live.feed(fake_sequence({}) + fake_picture(0, 50));
  CHECK(fake.last_flags == (kTimestamp | kEndOfPicture));
  Decoding file;
  file.feed(fake_sequence({}) + fake_picture(0, 50));
  CHECK(fake.last_flags == kTimestamp);
  CHECK(fake.display_delays == std::vector<unsigned>{0, 4});
}

TEST_CASE("nvdec: a missing library, and a build without one, are named") {
  int turns = 0;
  try {
    make_nvdec(VideoCodec::h264, false, std::make_unique<HostSurfaces>(turns), "libno-such-thing.so.1");
    FAIL("it was found");
  } catch (const Error& e) {
    CHECK(e.code == Error::Code::device);
    CHECK(std::string(e.what()) ==
          "NVDEC: libno-such-thing.so.1 is not there; it comes with NVIDIA's driver (in "
          "containers: capability video)");
  }
  try {
    make_nvdec(VideoCodec::h264, false, std::make_unique<HostSurfaces>(turns), "libz.so.1");
    FAIL("it is no decoder");
  } catch (const Error& e) {
    CHECK(std::string(e.what()) == "NVDEC: libz.so.1 has no cuvidGetDecoderCaps; a newer driver is wanted");
  }
}

}  // namespace
}  // namespace vistazo

#endif
