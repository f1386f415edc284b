#ifdef VISTAZO_FAKE_NVCUVID

#include <doctest/doctest.h>
#include <fmt/core.h>
#include <vistazo/detector.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "apps/video/annexb_file.h"
#include "apps/video/video_pipeline.h"
#include "tests/support/fake_gpu.h"
#include "tests/support/temporary_folder.h"
#ifdef VISTAZO_HAS_LIBAV
#include "apps/video/libav_packets.h"
#endif

namespace vistazo::apps {
namespace {

using namespace testing;

const std::atomic<bool> kNeverStopped = false;

int turns = 0;

VideoReaderOptions fake_options(DecoderChoice choice = DecoderChoice::nvdec) {
  VideoReaderOptions options;
  options.decoder = choice;
  options.make_gpu_decoder = [](VideoCodec codec, int, bool keeps_up) {
    return make_fake_decoder(codec, keeps_up, turns);
  };
  return options;
}

std::filesystem::path write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool run_ffmpeg(const std::string& arguments) {
  return std::system(fmt::format("ffmpeg -loglevel error -nostdin -y {}", arguments).c_str()) == 0;
}

std::vector<VideoFrame> read_all(VideoReader& reader) {
  std::vector<VideoFrame> frames;
  for (VideoFrame frame; reader.read(frame);) frames.push_back(frame);
  return frames;
}

std::span<const std::uint8_t> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// Cut as the splitter does it when it gets `step` bytes at a time.
std::vector<std::string> split(VideoCodec codec, const std::string& stream, std::size_t step) {
  AnnexbSplitter splitter(codec);
  std::vector<std::string> pictures;
  const auto add = [&](std::span<const std::uint8_t> picture) {
    pictures.emplace_back(picture.begin(), picture.end());
  };
  for (std::size_t begin = 0; begin < stream.size(); begin += step) {
    splitter.push(as_bytes(stream).subspan(begin, std::min(step, stream.size() - begin)));
    for (auto picture = splitter.next(); !picture.empty(); picture = splitter.next()) add(picture);
  }
  if (!splitter.rest().empty()) add(splitter.rest());
  return pictures;
}

TEST_CASE("annexb: a stream is cut before what belongs to the next picture") {
  const std::string code4("\0\0\0\1", 4), code3("\0\0\1", 3);
  const std::string sequence = code4 +
                               "\x67"
                               "abc",
                    parameters = code3 +
                                 "\x68"
                                 "de";
  const std::string first = code3 +
                            "\x65\x88"
                            "xy",
                    more = code3 +
                           "\x65\x10"
                           "xy";  // a picture of two slices
  const std::string inter = code4 +
                            "\x41\x9a"
                            "z.";
  const std::string delimiter = code4 + "\x09\xf0.";
  const std::vector<std::string> pictures = {sequence + parameters + first + more, inter, delimiter + inter,
                                             sequence + parameters + first};
  std::string stream;
  for (const std::string& p : pictures) stream += p;
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    CAPTURE(step);
    CHECK(split(VideoCodec::h264, stream, step) == pictures);
  }
}

TEST_CASE("annexb: stored streams have 30 pictures each") {
  for (const bool is_hevc : {false, true}) {
    const std::string stream =
        bytes_of(std::filesystem::path(VISTAZO_TEST_DATA) / "video" / (is_hevc ? "levels.hevc" : "levels.h264"));
    for (const std::size_t step : {1u, 13u, 1u << 20}) {
      const std::vector<std::string> pictures = split(is_hevc ? VideoCodec::hevc : VideoCodec::h264, stream, step);
      CHECK(pictures.size() == 30);
      std::string joined;
      for (const std::string& p : pictures) joined += p;
      CHECK(joined == stream);
    }
  }
}

TEST_CASE("annexb: real streams have as many pictures as frames, and lose no byte") {
  const TemporaryFolder folder;
  const std::string raw = (folder.path() / "a.h264").string();
  // B frames, several slices a picture, and parameter sets in between.
  if (!run_ffmpeg(fmt::format("-f lavfi -i testsrc=size=160x120:rate=25 -frames:v 60 -c:v libx264 -bf 2 -g 10 "
                              "-x264-params slices=3 -pix_fmt yuv420p '{}'",
                              raw))) {
    MESSAGE("skipped: there is no ffmpeg with libx264");
    return;
  }
  const std::string stream = bytes_of(raw);
  for (const std::size_t step : {7u, 1000u, 1u << 20}) {
    const std::vector<std::string> pictures = split(VideoCodec::h264, stream, step);
    CHECK(pictures.size() == 60);
    std::string joined;
    for (const std::string& p : pictures) joined += p;
    CHECK(joined == stream);
  }
  if (!run_ffmpeg(fmt::format("-i '{0}' -c:v libx265 -x265-params log-level=none '{0}.hevc'", raw))) return;
  CHECK(split(VideoCodec::hevc, bytes_of(raw + ".hevc"), 1000).size() == 60);
}

TEST_CASE("nvdec: a byte stream is read without FFmpeg, at the rate that it tells") {
  const TemporaryFolder folder;
  for (const bool is_hevc : {false, true}) {
    reset_fake_nvcuvid();
    std::string stream = fake_sequence({.width = 80, .height = 60, .rate = 50, .is_hevc = is_hevc});
    for (const int order : {0, 2, 1, 4, 3}) stream += fake_picture(order, 40 + order, kNoFault, is_hevc);
    const auto path = write_file(folder.path() / (is_hevc ? "a.hevc" : "a.H264"), stream);
    const std::unique_ptr<VideoReader> reader = open_video(path.string(), fake_options(), kNeverStopped);
    CHECK(std::string(reader->decoder()) == "NVDEC");
    CHECK(reader->format().width == 80);
    CHECK(reader->format().height == 60);
    CHECK(reader->format().rate_numerator == 50);
    CHECK_FALSE(reader->format().is_live);
    const std::vector<VideoFrame> frames = read_all(*reader);
    REQUIRE(frames.size() == 5);
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(frames[i].index == static_cast<std::int64_t>(i));
      CHECK(frames[i].time_ms == doctest::Approx(20.0 * static_cast<double>(i)));
      CHECK(frames[i].width() == 80);
      CHECK_FALSE(frames[i].picture.pixels);
    }
    CHECK(reader->broken_frames() == 0);
  }
}

TEST_CASE("nvdec: a frame's picture is fetched when it is wanted") {
  const TemporaryFolder folder;
  reset_fake_nvcuvid();
  const auto path = write_file(folder.path() / "a.264", fake_sequence({}) + fake_picture(0, 126));
  VideoFrame frame;
  REQUIRE(open_video(path.string(), fake_options(), kNeverStopped)->read(frame));
  frame.fetch_picture();
  REQUIRE(frame.picture.width == 64);
  REQUIRE(frame.picture.height == 48);
  CHECK(frame.picture.pixels.get()[47 * frame.picture.row_bytes + 3 * 63 + 2] == 128);
}

TEST_CASE("nvdec: what is no stream, or holds no picture, is an error that says so") {
  const TemporaryFolder folder;
  reset_fake_nvcuvid();
  const auto message_of = [](const std::filesystem::path& path) -> std::string {
    try {
      open_video(path.string(), fake_options(), kNeverStopped);
    } catch (const Error& e) {
      CHECK(e.code == Error::Code::file);
      return e.what();
    }
    return "";
  };
  CHECK(message_of(folder.path() / "none.h264") == "No such file or directory");
  CHECK(message_of(write_file(folder.path() / "text.h264", "no video")) ==
        "is no byte stream of H.264 or H.265: it has no start code");
  CHECK(message_of(write_file(folder.path() / "empty.h264", "")) ==
        "is no byte stream of H.264 or H.265: it has no start code");
  CHECK(message_of(write_file(folder.path() / "late.h264", fake_picture(0, 50))) ==
        "has no picture that can be decoded");
}

TEST_CASE("nvdec: damage costs frames, which are counted") {
  const TemporaryFolder folder;
  reset_fake_nvcuvid();
  std::string stream = fake_sequence({});
  for (int i = 0; i < 20; ++i) stream += fake_picture(i, 40 + i, i % 7 == 3 ? kDamaged : kNoFault);
  const auto path = write_file(folder.path() / "a.h264", stream);
  const std::unique_ptr<VideoReader> reader = open_video(path.string(), fake_options(), kNeverStopped);
  const std::vector<VideoFrame> frames = read_all(*reader);
  CHECK(frames.size() == 17);
  CHECK(reader->broken_frames() == 3);
}

TEST_CASE("nvdec: the pipeline takes its frames, in order, to the end") {
  const TemporaryFolder folder;
  reset_fake_nvcuvid();
  std::string stream = fake_sequence({.width = 96, .height = 64});
  for (int i = 0; i < 12; ++i) stream += fake_picture(i, 40 + 10 * i);
  stream += fake_sequence({.width = 64, .height = 96});
  for (int i = 0; i < 4; ++i) stream += fake_picture(i, 200);
  const auto path = write_file(folder.path() / "a.h264", stream);
  Options engine;
  engine.device = Device::cpu;
  const Detector detector = Detector::with_random_weights(
      std::filesystem::path(VISTAZO_TEST_DATA) / "models" / "w2_huggingface" / "config.json", engine);
  std::vector<std::int64_t> indices;
  VideoPipelineOptions options;
  options.source.reader = fake_options();
  options.needs_pictures = true;
  options.lanes = 3;
  options.on_result = [&](std::size_t, const VideoResult& result) {
    indices.push_back(result.frame.index);
    CHECK(result.frame.picture.width == (result.frame.index < 12 ? 96 : 64));
  };
  std::atomic<bool> stopped = false;
  VideoStatistics statistics;
  const auto reports = run_video_pipeline(detector, {{path.string(), {}, {}}}, options, stopped, statistics);
  REQUIRE(indices.size() == 16);
  for (std::size_t i = 0; i < 16; ++i) CHECK(indices[i] == static_cast<std::int64_t>(i));
  CHECK(reports[0].failure.empty());
  const FakeNvcuvid& fake = reset_fake_nvcuvid();
  CHECK(fake.decoders == 0);
  CHECK(turns == 0);
}

TEST_CASE("a detector on the CPU takes no image of a GPU") {
  Options engine;
  engine.device = Device::cpu;
  const Detector detector = Detector::with_random_weights(
      std::filesystem::path(VISTAZO_TEST_DATA) / "models" / "w2_huggingface" / "config.json", engine);
  const std::vector<std::uint8_t> pixels(12);
  const Image image{pixels.data(), 2, 2, 6, PixelFormat::bgr8, /*is_on_device=*/true};
  try {
    detector.detect(image);
    FAIL("it was taken");
  } catch (const Error& e) {
    CHECK(e.code == Error::Code::argument);
    CHECK(std::string(e.what()) ==
          "detect: image 0: its pixels lie in a GPU's memory (is_on_device), and this runs on the CPU");
  }
}

#ifdef VISTAZO_HAS_LIBAV

class Clip {
 public:
  explicit Clip(const std::string& options, const std::string& name = "a.mp4")
      : path((folder_.path() / name).string()) {
    is_there = run_ffmpeg(fmt::format("-f lavfi -i testsrc=size=160x120:rate=25 -frames:v 30 {} '{}'", options, path));
    if (!is_there) MESSAGE("skipped: there is no ffmpeg with this encoder");
  }

 private:
  TemporaryFolder folder_;

 public:
  const std::string path;
  bool is_there = false;
};

TEST_CASE("nvdec: FFmpeg's packets come as byte streams, with times and parameter sets") {
  for (const char* name : {"a.mp4", "a.mkv", "a.ts"}) {
    CAPTURE(name);
    const Clip clip("-c:v libx264 -bf 0 -g 10 -pix_fmt yuv420p", name);
    if (!clip.is_there) return;
    FakeNvcuvid& fake = reset_fake_nvcuvid();
    fake.real_width = 160;
    fake.real_height = 120;
    const std::unique_ptr<VideoReader> reader = open_video(clip.path, fake_options(), kNeverStopped);
    const std::vector<VideoFrame> frames = read_all(*reader);
    REQUIRE(frames.size() == 30);
    CHECK(fake.decoders_made == 1);
    CHECK(reader->broken_frames() == 0);
    CHECK(reader->format().width == 160);
    for (std::size_t i = 0; i < frames.size(); ++i) {
      CHECK(frames[i].time_ms == doctest::Approx(40.0 * static_cast<double>(i)).epsilon(0.001));
    }
  }
}

TEST_CASE("nvdec: every packet of an mp4 begins with a start code") {
  const Clip clip("-c:v libx264 -bf 2 -g 10 -pix_fmt yuv420p");
  if (!clip.is_there) return;
  const auto packets =
      make_libav_packets(std::make_shared<LibavInput>(clip.path, std::chrono::milliseconds(1000), kNeverStopped));
  VideoPacket packet;
  int count = 0, out_of_order = 0;
  for (std::int64_t last = -1; packets->read(packet); ++count) {
    REQUIRE(packet.bytes.size() > 4);
    CHECK(packet.bytes[0] == 0);
    CHECK(packet.bytes[1] == 0);
    CHECK((packet.bytes[2] == 1 || (packet.bytes[2] == 0 && packet.bytes[3] == 1)));
    REQUIRE(packet.ticks);
    out_of_order += *packet.ticks < last ? 1 : 0;
    last = *packet.ticks;
  }
  CHECK(count == 30);
  CHECK(out_of_order > 0);  // as the B frames are
}

TEST_CASE("nvdec: auto goes to the CPU, once and with the reason, where NVDEC does not decode") {
  const Clip clip("-c:v libx264 -g 10 -pix_fmt yuv420p"), other("-c:v mpeg4");
  if (!clip.is_there || !other.is_there) return;
  FakeNvcuvid& fake = reset_fake_nvcuvid();
  const auto note_of = [&](const std::string& source, const VideoReaderOptions& options) {
    std::vector<std::string> notes;
    const auto reader =
        open_video(source, options, kNeverStopped, [&](const std::string& reason) { notes.push_back(reason); });
    CHECK(std::string(reader->decoder()) == "CPU");
    CHECK(read_all(*reader).size() == 30);
    REQUIRE(notes.size() == 1);
    return notes[0];
  };
  const VideoReaderOptions automatic = fake_options(DecoderChoice::automatic);
  CHECK(note_of(other.path, automatic) == "NVDEC: its pictures are mpeg4; H.264 and H.265 are decoded on a GPU");
  fake.is_codec_supported = false;  // known only when the stream has begun
  CHECK(note_of(clip.path, automatic).find("decode it on the CPU") != std::string::npos);
  VideoReaderOptions missing = automatic;
  missing.make_gpu_decoder = [](VideoCodec, int, bool) -> GpuVideoDecoder {
    throw Error(Error::Code::device, "NVDEC: libnvcuvid.so.1 is not there");
  };
  CHECK(note_of(clip.path, missing) == "NVDEC: libnvcuvid.so.1 is not there");
  missing.decoder = DecoderChoice::nvdec;
  CHECK_THROWS_AS(open_video(clip.path, missing, kNeverStopped), Error);
  // No note where NVDEC is what decodes.
  fake.is_codec_supported = true;
  const auto reader = open_video(clip.path, automatic, kNeverStopped, [](const std::string&) { FAIL("a note"); });
  CHECK(std::string(reader->decoder()) == "NVDEC");
}

TEST_CASE("nvdec: where there is none, that is said") {
  const Clip clip("-c:v libx264 -pix_fmt yuv420p");
  if (!clip.is_there) return;
  VideoReaderOptions options;
  options.decoder = DecoderChoice::nvdec;
  try {
    open_video(clip.path, options, kNeverStopped);
    MESSAGE("there is a GPU here");
  } catch (const Error& e) {
    const std::string message = e.what();
    CAPTURE(message);
    CHECK((message.starts_with("NVDEC: ") || message.starts_with("device cuda: ")));
  }
}

#endif

}  // namespace
}  // namespace vistazo::apps

#endif
