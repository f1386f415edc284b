#ifdef VISTAZO_HAS_LIBAV

#include <doctest/doctest.h>
#include <fmt/core.h>
#include <vistazo/error.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "apps/video/video_reader.h"
#include "apps/video/video_writer.h"
#include "tests/support/temporary_folder.h"

namespace vistazo::apps {
namespace {

using namespace std::literals;
using testing::TemporaryFolder;

const std::atomic<bool> kNeverStopped = false;

Picture filled(int width, int height, std::array<std::uint8_t, 3> bgr) {
  const std::ptrdiff_t row_bytes = std::ptrdiff_t{3} * width;
  const auto bytes = static_cast<std::size_t>(row_bytes * height);
  Picture picture{std::shared_ptr<std::uint8_t>(new std::uint8_t[bytes], std::default_delete<std::uint8_t[]>()), width,
                  height, row_bytes, false};
  for (std::size_t i = 0; i < bytes; ++i) picture.pixels.get()[i] = bgr[i % 3];
  return picture;
}

std::array<int, 3> centre_of(const Picture& p) {
  const std::uint8_t* pixel = p.pixels.get() + p.height / 2 * p.row_bytes + std::ptrdiff_t{3} * (p.width / 2);
  return {pixel[0], pixel[1], pixel[2]};
}

// Grey of frame i: far enough from its neighbours' to tell them apart after H.264.
std::uint8_t level(int i) {
  return static_cast<std::uint8_t>(20 + 31 * i % 211);
}

VideoFormat format_of(int width, int height) {
  VideoFormat format;
  format.width = width;
  format.height = height;
  format.rate_numerator = 30000;
  format.rate_denominator = 1001;
  format.tick = {0, 1, 90000};
  return format;
}

void write_video(const std::filesystem::path& path, int width, int height, const std::vector<std::int64_t>& ticks) {
  VideoWriter writer(path, format_of(width, height));
  for (std::size_t i = 0; i < ticks.size(); ++i) {
    const std::uint8_t grey = level(static_cast<int>(i));
    writer.write(filled(width, height, {grey, grey, grey}), ticks[i]);
  }
  writer.close();
}

std::vector<VideoFrame> read_all(const std::filesystem::path& path) {
  const std::unique_ptr<VideoReader> reader = open_video(path.string(), {}, kNeverStopped);
  std::vector<VideoFrame> frames;
  for (VideoFrame frame; reader->read(frame);) frames.push_back(frame);
  CHECK(reader->broken_frames() == 0);
  return frames;
}

TEST_CASE("video: every frame comes back in order, with its picture and its time") {
  const TemporaryFolder folder;
  std::vector<std::int64_t> ticks;
  for (int i = 0; i < 70; ++i) ticks.push_back(3003 * i + (i % 3) * 700);  // no constant rate
  for (const char* name : {"a.mp4", "a.mkv", "a.mov"}) {
    for (const std::pair<int, int>& size : {std::pair{64, 48}, std::pair{65, 47}}) {
      const int width = size.first, height = size.second;
      CAPTURE(name);
      CAPTURE(width);
      write_video(folder.path() / name, width, height, ticks);
      const std::vector<VideoFrame> frames = read_all(folder.path() / name);
      REQUIRE(frames.size() == ticks.size());
      for (std::size_t i = 0; i < frames.size(); ++i) {
        CHECK(frames[i].index == static_cast<std::int64_t>(i));
        // Matroska counts in milliseconds.
        CHECK(std::abs(frames[i].time_ms - static_cast<double>(ticks[i]) / 90) < (name == "a.mkv"sv ? 0.51 : 0.001));
        CHECK(frames[i].picture.width == width + width % 2);
        for (const int channel : centre_of(frames[i].picture))
          CHECK(std::abs(channel - level(static_cast<int>(i))) <= 4);
      }
    }
  }
}

TEST_CASE("video: colours survive") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "colours.mp4";
  const std::array<std::array<std::uint8_t, 3>, 4> colours{{{200, 30, 40}, {30, 180, 60}, {20, 40, 210}, {90, 90, 90}}};
  {
    VideoWriter writer(path, format_of(64, 64));
    for (std::size_t i = 0; i < colours.size(); ++i) {
      writer.write(filled(64, 64, colours[i]), 3003 * static_cast<std::int64_t>(i));
    }
  }
  const std::vector<VideoFrame> frames = read_all(path);
  REQUIRE(frames.size() == colours.size());
  for (std::size_t i = 0; i < frames.size(); ++i) {
    for (std::size_t c = 0; c < 3; ++c) CHECK(std::abs(centre_of(frames[i].picture)[c] - colours[i][c]) <= 6);
  }
}

TEST_CASE("video: a file that was never closed plays up to its last fragment") {
  const TemporaryFolder folder;
  for (const char* name : {"open.mp4", "open.mkv"}) {
    const std::filesystem::path copy = folder.path() / fmt::format("copy-{}", name);
    {
      VideoWriter writer(folder.path() / name, format_of(64, 48));
      for (int i = 0; i < 95; ++i) writer.write(filled(64, 48, {level(i), level(i), level(i)}), 3003 * i);
      std::filesystem::copy_file(folder.path() / name, copy);  // what a kill would leave
    }
    const std::size_t frames = read_all(copy).size();
    CAPTURE(name);
    CHECK(frames >= 30);
    CHECK(frames < 95);
  }
}

TEST_CASE("video: rotation is applied") {
  const TemporaryFolder folder;
  const std::string plain = (folder.path() / "plain.mp4").string(), turned = (folder.path() / "turned.mp4").string();
  {
    VideoWriter writer(plain, format_of(64, 32));
    Picture picture = filled(64, 32, {0, 0, 0});
    for (int y = 0; y < 16; ++y)
      std::memset(picture.pixels.get() + y * picture.row_bytes, 255, 96);  // top left quarter
    for (int i = 0; i < 3; ++i) writer.write(picture, 3003 * i);
  }
  // FFmpeg 5 shows a file with this mark turned by 90 degrees counterclockwise.
  const std::string command =
      fmt::format("ffmpeg -loglevel error -y -i '{}' -c copy -metadata:s:v rotate=90 '{}'", plain, turned);
  if (std::system(command.c_str()) != 0) {
    MESSAGE("skipped: there is no ffmpeg");
    return;
  }
  const std::vector<VideoFrame> frames = read_all(turned);
  REQUIRE(frames.size() == 3);
  const Picture& p = frames[0].picture;
  REQUIRE(p.width == 32);
  REQUIRE(p.height == 64);
  const auto at = [&](int x, int y) { return p.pixels.get()[y * p.row_bytes + 3 * x]; };
  CHECK(at(8, 56) > 200);  // the white quarter is at the bottom left now
  CHECK(at(8, 8) < 50);
  CHECK(at(24, 56) < 50);
}

TEST_CASE("video: damage in the middle costs frames, not the run") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "damaged.mkv";
  std::vector<std::int64_t> ticks;
  for (int i = 0; i < 120; ++i) ticks.push_back(3003 * i);
  write_video(path, 160, 120, ticks);
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(path) / 2));
    file.write("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
  }
  const std::unique_ptr<VideoReader> reader = open_video(path.string(), {}, kNeverStopped);
  int frames = 0;
  for (VideoFrame frame; reader->read(frame);) ++frames;
  CHECK(frames >= 80);
  CHECK(frames + reader->broken_frames() <= 120);
}

TEST_CASE("video: what cannot be read says why") {
  const TemporaryFolder folder;
  const auto message_of = [](const std::string& source) -> std::string {
    try {
      open_video(source, {.deadline = std::chrono::milliseconds(300)}, kNeverStopped);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  CHECK(message_of((folder.path() / "none.mp4").string()) == "No such file or directory");
  std::ofstream(folder.path() / "text.mp4") << "this is no video at all";
  CHECK(message_of((folder.path() / "text.mp4").string()) == "is no video that FFmpeg can read");
  CHECK(message_of("tcp://127.0.0.1:9") == "Connection refused");
  // Nobody answers there (TEST-NET-1), or there is no network.
  const auto start = std::chrono::steady_clock::now();
  CHECK(!message_of("tcp://192.0.2.1:9").empty());
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("video: a stop ends an open that waits") {
  std::atomic<bool> stopped = false;
  std::thread stop([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    stopped = true;
  });
  CHECK_THROWS_AS(open_video("tcp://127.0.0.1:47123?listen", {}, stopped), Error);
  stop.join();
}

TEST_CASE("video: files that cannot be written are refused") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(VideoWriter(folder.path() / "a.avi", format_of(64, 64)), Error);
  CHECK_THROWS_AS(VideoWriter(folder.path() / "none" / "a.mp4", format_of(64, 64)), Error);
}

}  // namespace
}  // namespace vistazo::apps

#endif
