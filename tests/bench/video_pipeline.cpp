// Frames a second of `vistazo video` beside a plain loop of the same parts, in one run, in turns:
//   video_pipeline_bench VIDEO MODEL [--sources 1,4] [--rounds 3] [--device cpu|cuda] [--no-save]
// MODEL: a folder, or a config.json, which gets random weights. The loop decodes on the CPU, detects, tracks, draws and
// encodes a frame before it takes the next: once with one thread for everything, once with all threads for the
// detector, the decoder and the encoder. It reads one source, as several, one after the other, would have the same
// rate. `vistazo video` has the sources side by side, decoded on the CPU and, on a GPU that can, by NVDEC. With
// --no-save nothing is drawn or encoded. Of several sources each reads the same file.
#include "apps/video/video_pipeline.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <vistazo/detector.h>
#include <vistazo/tracker.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "apps/annotate.h"
#include "tests/support/temporary_folder.h"

namespace vistazo::apps {
namespace {

constexpr float kMinScore = 0.1f;

struct BenchOptions {
  std::string video, model;
  std::vector<int> sources{1, 4};
  int rounds = 3;
  bool is_on_gpu = false, is_saved = true;
};

Detector load(const BenchOptions& bench, int threads) {
  Options options;
  options.device = bench.is_on_gpu ? Device::cuda : Device::cpu;
  options.cpu_threads = threads;
  options.min_score = kMinScore;
  if (bench.model.ends_with(".json")) {
    options.max_detections = 16;  // random weights see objects everywhere, and the tracker would follow hundreds
    return Detector::with_random_weights(bench.model, options);
  }
  return Detector::load(bench.model, options);
}

struct Run {
  std::int64_t frames = 0;
  std::string details;
};

Run run_loop(const Detector& detector, const BenchOptions& bench, const std::filesystem::path& folder, int threads) {
  const std::atomic<bool> stopped = false;
  const std::unique_ptr<VideoReader> reader = open_video(bench.video, {.decoder_threads = threads}, stopped);
  std::unique_ptr<VideoWriter> writer;
  if (bench.is_saved) {
    writer = std::make_unique<VideoWriter>(folder / "loop.mp4", reader->format(),
                                           VideoWriterOptions{.encoder_threads = threads});
  }
  Tracker tracker;
  Run run;
  for (VideoFrame frame; reader->read(frame); ++run.frames) {
    Detections detections = detector.detect(frame.view());
    keep_best_of_place(detections, VideoPipelineOptions{}.same_place);
    const std::vector<std::int64_t> ids = tracker.update(detections);
    if (!writer) continue;
    draw_onto(frame.picture, detections, detector.class_names(), ids);
    writer->write(frame.picture, frame.time.ticks);
  }
  if (writer) writer->close();
  return run;
}

Run run_pipeline(const Detector& detector, const BenchOptions& bench, const std::filesystem::path& folder, int sources,
                 DecoderChoice decoder) {
  std::vector<VideoSourceOptions> inputs;
  for (int i = 0; i < sources; ++i) {
    inputs.push_back({bench.video, bench.is_saved ? folder / fmt::format("{}.mp4", i) : std::filesystem::path(), {}});
  }
  std::atomic<bool> stopped = false;
  VideoStatistics s;
  VideoPipelineOptions options;
  options.source.reader.decoder = decoder;
  const int lanes = bench.is_on_gpu ? 1 : static_cast<int>(std::thread::hardware_concurrency());
  options.lanes = lanes;  // as the command has it, on few cores
  if (lanes == 1) options.batch = sources;
  options.tracking.emplace();
  run_video_pipeline(detector, inputs, options, stopped, s);
  const BusyTime* times[] = {&s.reading, &s.detecting, &s.tracking, &s.drawing, &s.encoding};
  double all = 0;
  for (const BusyTime* time : times) all += time->seconds();
  const auto share = [&](const BusyTime& time) { return 100 * time.seconds() / all; };
  return {s.processed, fmt::format("p50/p99 {:.0f}/{:.0f} ms; decode {:.0f} %, detect {:.0f} %, track {:.0f} %, draw "
                                   "{:.0f} %, encode {:.0f} %",
                                   s.latency.quantile_ms(0.5), s.latency.quantile_ms(0.99), share(s.reading),
                                   share(s.detecting), share(s.tracking), share(s.drawing), share(s.encoding))};
}

// That all threads of the process took so far. Unlike frames a second, it hardly depends on what else the machine does.
double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Way {
  const char* name;
  std::function<Run()> run;
  std::vector<double> rates = {}, busy_ms = {};  // frames a second; of all processors, a frame
  std::string details = {};
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

std::string nvdec_problem() {
  try {
    const GpuVideoDecoder decoder(VideoCodec::h264, 0);
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

void compare(const BenchOptions& bench, const Detector& one, const Detector& all, int sources) {
  const testing::TemporaryFolder folder;
  const auto& path = folder.path();
  std::vector<Way> ways{{"loop, one thread", [&] { return run_loop(one, bench, path, 1); }},
                        {"loop, all threads", [&] { return run_loop(all, bench, path, 0); }},
                        {"vistazo video", [&] {
                           return run_pipeline(bench.is_on_gpu ? all : one, bench, path, sources, DecoderChoice::cpu);
                         }}};
  if (bench.is_on_gpu) {
    const std::string problem = nvdec_problem();
    if (problem.empty()) {
      ways.push_back(
          {"vistazo video, NVDEC", [&] { return run_pipeline(all, bench, path, sources, DecoderChoice::nvdec); }});
    } else {
      fmt::print("without NVDEC: {}\n", problem);
    }
  }
  for (int round = 0; round < bench.rounds; ++round) {
    for (Way& way : ways) {
      const auto start = std::chrono::steady_clock::now();
      const double busy_before = processor_seconds();
      const Run run = way.run();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      const auto frames = static_cast<double>(run.frames);
      way.rates.push_back(frames / seconds.count());
      way.busy_ms.push_back(1e3 * (processor_seconds() - busy_before) / frames);
      way.details = run.details;
    }
  }
  fmt::print("{} source{}\n", sources, sources == 1 ? "" : "s");
  for (const Way& way : ways) {
    const auto [slowest, fastest] = std::ranges::minmax(way.rates);
    fmt::print(
        "  {:20} {:8.2f} frames/s ({:.2f} to {:.2f})  {:.2f} of the first  {:.1f} ms of processors a frame  {}\n",
        way.name, median(way.rates), slowest, fastest, median(way.rates) / median(ways[0].rates), median(way.busy_ms),
        way.details);
  }
  std::fflush(stdout);
}

int run(int argc, char** argv) {
  BenchOptions bench;
  std::string device = "cpu";
  CLI::App app{"Frames a second of vistazo video beside a plain loop"};
  app.add_option("VIDEO", bench.video)->required();
  app.add_option("MODEL", bench.model)->required();
  app.add_option("--sources", bench.sources)->delimiter(',');
  app.add_option("--rounds", bench.rounds);
  app.add_option("--device", device)->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_flag("!--no-save", bench.is_saved);
  CLI11_PARSE(app, argc, argv);
  bench.is_on_gpu = device == "cuda";
  const Detector one = load(bench, 1), all = load(bench, 0);
  for (const int sources : bench.sources) compare(bench, one, all, sources);
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
