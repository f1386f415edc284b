// Frames a second of `vistazo video` beside a plain loop of the same parts, one after the other, in one run:
//   video_pipeline_bench VIDEO MODEL [ROUNDS]
// The loop decodes, detects, tracks, draws and encodes a frame before it takes the next: once with one thread for
// everything, once with all threads for the detector, the decoder and the encoder. Medians over rounds that alternate.
#include "apps/video/video_pipeline.h"

#include <fmt/core.h>
#include <vistazo/detector.h>
#include <vistazo/tracker.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "apps/annotate.h"
#include "tests/support/temporary_folder.h"

namespace vistazo::apps {
namespace {

constexpr float kMinScore = 0.1f;

Detector load(const char* model, int threads) {
  Options options;
  options.device = Device::cpu;
  options.cpu_threads = threads;
  options.min_score = kMinScore;
  return Detector::load(model, options);
}

std::int64_t run_loop(const Detector& detector, const char* video, const std::filesystem::path& save, int threads) {
  const std::atomic<bool> stopped = false;
  const std::unique_ptr<VideoReader> reader = open_video(video, {.decoder_threads = threads}, stopped);
  VideoWriter writer(save, reader->format(), {.encoder_threads = threads});
  Tracker tracker;
  std::int64_t frames = 0;
  for (VideoFrame frame; reader->read(frame); ++frames) {
    const Detections detections = detector.detect(frame.picture.view());
    const std::vector<std::int64_t> ids = tracker.update(detections);
    writer.write(draw_detections(frame.picture, detections, detector.class_names(), ids), frame.time.ticks);
  }
  writer.close();
  return frames;
}

std::int64_t run_pipeline(const Detector& detector, const char* video, const std::filesystem::path& save) {
  std::atomic<bool> stopped = false;
  VideoStatistics statistics;
  VideoPipelineOptions options;
  options.tracking.emplace();
  run_video_pipeline(detector, {{video, save, {}}}, options, stopped, statistics);
  return statistics.processed;
}

struct Way {
  const char* name;
  std::function<std::int64_t()> run;
  std::vector<double> rates = {};

  double median() const {
    std::vector<double> sorted = rates;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  }
};

int run(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: {} VIDEO MODEL [ROUNDS]\n", argv[0]);
    return 2;
  }
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 3;
  const testing::TemporaryFolder folder;
  const std::filesystem::path save = folder.path() / "out.mp4";
  const Detector one = load(argv[2], 1), all = load(argv[2], 0);
  Way ways[] = {{"loop, one thread", [&] { return run_loop(one, argv[1], save, 1); }},
                {"loop, all threads", [&] { return run_loop(all, argv[1], save, 0); }},
                {"vistazo video", [&] { return run_pipeline(all, argv[1], save); }}};
  for (int round = 0; round < rounds; ++round) {
    for (Way& way : ways) {
      const auto start = std::chrono::steady_clock::now();
      const std::int64_t frames = way.run();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      way.rates.push_back(static_cast<double>(frames) / seconds.count());
    }
  }
  for (const Way& way : ways) {
    const auto [slowest, fastest] = std::ranges::minmax(way.rates);
    fmt::print("{:18} {:7.2f} frames/s ({:.2f} to {:.2f})  {:.2f} of the first\n", way.name, way.median(), slowest,
               fastest, way.median() / ways[0].median());
  }
  return 0;
}

}  // namespace
}  // namespace vistazo::apps

int main(int argc, char** argv) {
  try {
    return vistazo::apps::run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
