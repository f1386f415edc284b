#include <cuda_runtime_api.h>
#include <doctest/doctest.h>
#include <vistazo/detector.h>
#include <vistazo/gpu_video.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base/device_buffer.h"
#include "tests/device/support.h"
#ifdef VISTAZO_FAKE_NVCUVID
#include "tests/support/fake_gpu.h"
#endif

// Images in a GPU's memory, and the video decoder that makes them.
namespace vistazo {
namespace {

using testing::options_for;

std::filesystem::path small_model() {
  return testing::data_folder() / "models" / "w2_huggingface";
}

std::vector<std::uint8_t> some_pixels(std::size_t count) {
  std::vector<std::uint8_t> pixels(count);
  for (std::size_t i = 0; i < count; ++i) pixels[i] = static_cast<std::uint8_t>((i * 2654435761u) >> 13);
  return pixels;
}

bool are_alike(const Detections& a, const Detections& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].score != b[i].score || a[i].class_id != b[i].class_id || a[i].box.x0 != b[i].box.x0) return false;
  }
  return true;
}

TEST_CASE("device: an image in the GPU's memory gives what it gives from the host's") {
  Options options = options_for(Device::cuda);
  options.min_score = 0;
  const Detector detector = Detector::load(small_model(), options);
  const int width = 131, height = 77, row_bytes = 3 * width + 7;
  const std::vector<std::uint8_t> pixels = some_pixels(static_cast<std::size_t>(row_bytes * height));
  const DeviceBuffer memory(pixels.size());
  check_cuda(cudaMemcpy(memory.data(), pixels.data(), pixels.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
  const Image on_host{pixels.data(), width, height, row_bytes, PixelFormat::bgr8};
  Image on_device = on_host;
  on_device.pixels = reinterpret_cast<const std::uint8_t*>(memory.data());
  on_device.is_on_device = true;
  const Detections expected = detector.detect(on_host);
  REQUIRE_FALSE(expected.empty());
  CHECK(are_alike(detector.detect(on_device), expected));
  const std::vector<Image> mixed{on_device, on_host, on_device};
  for (const Detections& d : detector.detect_batch(mixed)) CHECK(are_alike(d, detector.detect_batch({{on_host}})[0]));
}

TEST_CASE("device: host memory that is called a GPU's is refused, and nothing is lost") {
  const Detector detector = Detector::load(small_model(), options_for(Device::cuda));
  const std::vector<std::uint8_t> pixels = some_pixels(300);
  Image image{pixels.data(), 10, 10, 30, PixelFormat::rgb8, /*is_on_device=*/true};
  CHECK_THROWS_AS(detector.detect(image), Error);
  image.is_on_device = false;
  detector.detect(image);
}

// Nothing, and why, where there is no NVDEC.
std::optional<GpuVideoDecoder> make_decoder(VideoCodec codec) {
  try {
    return GpuVideoDecoder(codec, 0);
  } catch (const Error& e) {
    MESSAGE("skipped: " << std::string(e.what()));
    return std::nullopt;
  }
}

TEST_CASE("device: NVDEC's frames are those that were encoded, in order") {
  for (const VideoCodec codec : {VideoCodec::h264, VideoCodec::hevc}) {
    std::optional<GpuVideoDecoder> decoder = make_decoder(codec);
    if (!decoder) return;
    const auto path = testing::data_folder() / "video" / (codec == VideoCodec::h264 ? "levels.h264" : "levels.hevc");
    std::ifstream file(path, std::ios::binary);
    const std::string stream{std::istreambuf_iterator<char>(file), {}};
    REQUIRE_FALSE(stream.empty());
    // All at once: the parser finds the pictures.
    decoder->decode({reinterpret_cast<const std::uint8_t*>(stream.data()), stream.size()}, 7);
    decoder->flush();
    Options options = options_for(Device::cuda);
    options.min_score = 0;
    const Detector detector = Detector::load(small_model(), options);
    int frames = 0;
    for (GpuFrame frame; decoder->next(frame); ++frames) {
      REQUIRE(frame.width == 160);
      REQUIRE(frame.height == 160);
      std::vector<std::uint8_t> pixels(3 * 160 * 160);
      download(frame, pixels.data(), 3 * 160);
      const int expected = ((20 + 7 * frames - 16) * 255 + 109) / 219;
      int largest = 0;
      for (const std::uint8_t p : pixels) largest = std::max(largest, std::abs(p - expected));
      CHECK(largest <= 2);  // of lossy coding
      CHECK(are_alike(detector.detect(frame.view()),
                      detector.detect({pixels.data(), 160, 160, 3 * 160, PixelFormat::bgr8})));
    }
    CHECK(frames == 30);
    CHECK(decoder->broken_frames() == 0);
    CHECK(decoder->rate().numerator == 25 * decoder->rate().denominator);
  }
}

TEST_CASE("device: damage in the middle of a stream costs frames, not the decoder") {
  std::optional<GpuVideoDecoder> decoder = make_decoder(VideoCodec::h264);
  if (!decoder) return;
  std::ifstream file(testing::data_folder() / "video" / "levels.h264", std::ios::binary);
  std::string stream{std::istreambuf_iterator<char>(file), {}};
  const std::string whole = stream;
  for (std::size_t i = stream.size() / 2; i < stream.size() / 2 + 12; ++i) stream[i] = '\xff';
  const auto feed = [&](const std::string& bytes) {
    decoder->decode({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, 0);
  };
  feed(stream);
  feed(whole);  // what comes behind is as it was
  decoder->flush();
  std::vector<int> levels;
  for (GpuFrame frame; decoder->next(frame);) {
    std::vector<std::uint8_t> pixels(3 * 160 * 160);
    download(frame, pixels.data(), 3 * 160);
    levels.push_back(pixels[0]);
  }
  REQUIRE(levels.size() >= 30);
  CHECK(std::abs(levels.back() - ((20 + 7 * 29 - 16) * 255 + 109) / 219) <= 2);
}

#ifdef VISTAZO_FAKE_NVCUVID

// All of the way but NVIDIA's part of it: surfaces in the emulated GPU's memory, converted by the kernel there.
TEST_CASE("device: surfaces of a decoder come to the detector without leaving the GPU") {
  testing::FakeNvcuvid& fake = testing::reset_fake_nvcuvid();
  Options options = options_for(Device::cuda);
  options.min_score = 0;
  const Detector detector = Detector::load(small_model(), options);
  std::vector<GpuFrame> kept;
  {
    GpuVideoDecoder decoder(make_nvdec(VideoCodec::h264, false, make_cuda_surfaces(0), VISTAZO_FAKE_NVCUVID));
    std::string stream = testing::fake_sequence({.width = 102, .height = 50});
    for (int i = 0; i < 40; ++i) stream += testing::fake_picture(i, 30 + 5 * i);
    stream += testing::fake_sequence({.width = 64, .height = 48, .is_full_range = 1}) + testing::fake_picture(0, 77);
    decoder.decode({reinterpret_cast<const std::uint8_t*>(stream.data()), stream.size()}, 5);
    decoder.flush();
    int frames = 0;
    for (GpuFrame frame; decoder.next(frame); ++frames) {
      const int expected = frames == 40 ? 77 : ((30 + 5 * frames - 16) * 255 + 109) / 219;
      std::vector<std::uint8_t> pixels(3 * static_cast<std::size_t>(frame.width * frame.height));
      download(frame, pixels.data(), 3 * frame.width);
      CHECK(std::ranges::all_of(pixels, [&](int p) { return p == expected; }));
      if (frames % 10 == 0) {
        CHECK(are_alike(detector.detect(frame.view()), detector.detect({pixels.data(), frame.width, frame.height,
                                                                        3 * frame.width, PixelFormat::bgr8})));
      }
      if (frames < 3) kept.push_back(frame);
    }
    CHECK(frames == 41);
  }
  CHECK(fake.decoders == 0);
  CHECK(fake.mapped == 0);
  // What is held outlives the decoder.
  std::vector<std::uint8_t> pixels(3 * 102 * 50);
  download(kept[2], pixels.data(), 3 * 102);
  CHECK(pixels[0] == ((40 - 16) * 255 + 109) / 219);
}

TEST_CASE("device: memory of frames is used again") {
  testing::reset_fake_nvcuvid();
  std::size_t before = 0, after = 0, total = 0;
  GpuVideoDecoder decoder(make_nvdec(VideoCodec::h264, true, make_cuda_surfaces(0), VISTAZO_FAKE_NVCUVID));
  for (int i = 0; i < 200; ++i) {
    const std::string packet = (i == 0 ? testing::fake_sequence({}) : "") + testing::fake_picture(i, 100);
    decoder.decode({reinterpret_cast<const std::uint8_t*>(packet.data()), packet.size()}, i);
    GpuFrame frame;
    REQUIRE(decoder.next(frame));
    if (i == 2) check_cuda(cudaMemGetInfo(&before, &total), "cudaMemGetInfo");
  }
  check_cuda(cudaMemGetInfo(&after, &total), "cudaMemGetInfo");
  CHECK(after == before);
}

#endif

}  // namespace
}  // namespace vistazo
