#include <fmt/core.h>
#include <unistd.h>
#include <vistazo/detector.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "apps/commands.h"
#include "apps/options.h"
#include "apps/outputs/outputs.h"
#include "apps/video/source_name.h"
#include "apps/video/video_pipeline.h"
#include "apps/video/video_window.h"

namespace vistazo::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  vistazo video flight.mp4 --save annotated.mp4 --track
  vistazo video 0 --display
  vistazo video rtsp://camera/stream --jsonl - --max-fps 5
  vistazo video a.mp4 b.mp4 c.mp4 --jsonl all.jsonl --save annotated/
  vistazo video clip.mp4 --track --truth labels.csv

Sources are video files, cameras (a number, or /dev/video0), rtsp://, http://,
tcp:// or udp:// streams, and numbered pictures (frame_%04d.png). Of a file,
every frame is processed; of a camera or stream, always the newest. A stream
that breaks off is opened again. Ctrl-C finishes the files and ends.
)";

struct VideoOptions {
  std::vector<std::string> sources;
  std::string model, save, jsonl, truth;
  bool is_tracking = false, is_displayed = false;
  int every = 1, quality = 23;
  double max_fps = 0, timeout_s = 10;
  float same_place = VideoPipelineOptions{}.same_place;
  DecoderChoice decoder = DecoderChoice::automatic;
  TrackerOptions tracker;
  OutputOptions outputs;
  Options engine;
};

// Set by Ctrl-C or a request to end; a second one ends the program at once.
std::atomic<bool> stop_requested{false};

void request_stop(int signal) {
  if (stop_requested.exchange(true)) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

// A line is written as a whole, and at once: what was finished before a kill stays.
class JsonLines {
 public:
  explicit JsonLines(const std::string& path) : path_(path) {
    file_ = path == "-" ? stdout : std::fopen(path.c_str(), "we");
    if (file_ == nullptr) throw Error(Error::Code::file, fmt::format("{}: cannot be written", path));
  }
  ~JsonLines() {
    if (file_ != stdout) std::fclose(file_);
  }
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;

  void write(const std::string& line) {
    const std::lock_guard lock(mutex_);
    if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0) {
      throw Error(Error::Code::file, fmt::format("{}: cannot be written", path_));
    }
  }

 private:
  const std::string path_;
  std::FILE* file_ = nullptr;
  std::mutex mutex_;
};

// "rtsp://camera/stream" -> "stream": what a file can be called after.
std::string stem_of(const std::string& source) {
  std::string stem = std::filesystem::path(source).stem().string();
  for (char& c : stem) {
    if (std::string_view("/\\?*:|\"<>%&=").find(c) != std::string_view::npos) c = '_';
  }
  return stem.empty() ? "video" : stem;
}

// The tables, label files and crops that were asked for: an image of theirs is a frame.
class FrameFiles {
 public:
  FrameFiles(const OutputOptions& options, const std::vector<VideoSourceOptions>& sources,
             std::span<const std::string> class_names)
      : outputs_(options, {class_names.begin(), class_names.end()}, true) {
    UniqueNames unique;
    for (const VideoSourceOptions& source : sources) names_.push_back(unique.next(stem_of(source.name)));
  }

  bool is_empty() const { return outputs_.is_empty(); }

  void add(const VideoSourceOptions& source, std::size_t index, const VideoResult& result) {
    // COCO wants a number of its own for every frame of every source.
    constexpr std::int64_t kSourceIds = 1'000'000'000;
    const Picture& picture = result.frame.picture;  // there if crops are wanted
    Finding finding{source.name, fmt::format("{}_{:06}", names_[index], result.frame.index),
                    static_cast<std::int64_t>(index) * kSourceIds + result.frame.index};
    finding.frame = static_cast<int>(result.frame.index);
    finding.width = result.frame.width();
    finding.height = result.frame.height();
    finding.objects = result.detections;
    finding.pixels = [&](const Rect& part) { return cut_picture(picture, part); };
    const std::lock_guard lock(mutex_);
    outputs_.add(finding);
  }

  void finish() { outputs_.finish(); }

 private:
  Outputs outputs_;
  std::vector<std::string> names_;
  std::mutex mutex_;
};

// The line of figures at the bottom of a terminal, twice a second.
class StatusLine {
 public:
  explicit StatusLine(const VideoStatistics& statistics) : statistics_(statistics) {
    if (isatty(STDERR_FILENO)) thread_ = std::thread([this] { run(); });
  }
  ~StatusLine() {
    {
      const std::lock_guard lock(mutex_);
      is_ended_ = true;
    }
    ended_.notify_all();
    if (thread_.joinable()) thread_.join();
  }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, std::chrono::milliseconds(500), [&] { return is_ended_; })) {
      fmt::print(stderr, "\r\033[K{}", statistics_.line(seconds()));
      std::fflush(stderr);
    }
    fmt::print(stderr, "\r\033[K");
  }

  const VideoStatistics& statistics_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
  std::condition_variable ended_;
  bool is_ended_ = false;
  std::thread thread_;
};

// One source: the file; several: a folder with a file for each.
std::vector<VideoSourceOptions> plan_outputs(const VideoOptions& options) {
  std::vector<VideoSourceOptions> sources;
  std::set<std::string> names;
  const bool is_folder = options.sources.size() > 1;
  if (is_folder && !options.save.empty()) {
    std::error_code error;
    std::filesystem::create_directories(options.save, error);
    if (error) throw Error(Error::Code::file, fmt::format("{}: {}", options.save, error.message()));
  }
  for (const std::string& source : options.sources) {
    VideoSourceOptions planned{source, options.save, {}};
    if (is_folder && !options.save.empty()) {
      std::string name = stem_of(source);
      for (int i = 2; !names.insert(name).second; ++i) name = fmt::format("{}-{}", stem_of(source), i);
      planned.save = std::filesystem::path(options.save) / (name + ".mp4");
    }
    std::error_code ignored;
    if (!planned.save.empty() && std::filesystem::equivalent(source, planned.save, ignored)) {
      throw Error(Error::Code::argument, fmt::format("{}: would be overwritten by --save", source));
    }
    sources.push_back(std::move(planned));
  }
  if (!options.truth.empty()) {
    if (sources.size() > 1) throw Error(Error::Code::argument, "--truth is for one source");
    sources.front().truth = read_video_truth(options.truth);
  }
  return sources;
}

void print_summary(const std::vector<VideoSourceReport>& reports, const VideoStatistics& statistics, double seconds) {
  fmt::print(stderr, "{}\n", statistics.line(seconds));
  const BusyTime* times[] = {&statistics.reading, &statistics.detecting, &statistics.tracking, &statistics.drawing,
                             &statistics.encoding};
  const char* names[] = {"decode", "detect", "track", "draw", "encode"};
  double all = 0;
  for (const BusyTime* time : times) all += time->seconds();
  std::string shares;
  for (std::size_t i = 0; i < std::size(times) && all > 0; ++i) {
    shares += fmt::format("{}{} {:.1f} s ({:.0f} %)", i > 0 ? ", " : "", names[i], times[i]->seconds(),
                          100 * times[i]->seconds() / all);
  }
  fmt::print(stderr, "{:.1f} s; {}\n", seconds, shares);
  for (const VideoSourceReport& report : reports) {
    if (!report.score) continue;
    const TrackingScore& s = *report.score;
    fmt::print(stderr, "{}: MOTA {:.3f}  IDF1 {:.3f}  ({} truths, {} misses, {} false positives, {} switches)\n",
               report.name, s.mota, s.idf1, s.truths, s.misses, s.false_positives, s.switches);
  }
}

// Frames of a GPU's decoder are for a detector on that GPU.
void choose_decoder(const VideoOptions& options, const Detector& detector, SourceOptions& source) {
  const bool is_on_gpu = detector.info().device == Device::cuda;
  if (options.decoder == DecoderChoice::nvdec && !is_on_gpu) {
    throw Error(Error::Code::argument, "--decoder nvdec: the detector runs on the CPU; it needs --device cuda");
  }
  source.reader.decoder = is_on_gpu ? options.decoder : DecoderChoice::cpu;
  source.reader.gpu = options.engine.gpu;
  source.on_note = [](const std::string& line) { fmt::print(stderr, "vistazo: {}\n", line); };
}

// How many frames a CPU detects at once. Of files as many as there are cores, a core each, up to so many that frames on
// their way fill no memory. Of a live source only the newest frame counts: all cores work at it.
int lanes_on_cpu(const VideoOptions& options) {
  constexpr int kMost = 8;
  const int asked = options.engine.cpu_threads;
  const int cores = asked > 0 ? asked : static_cast<int>(std::thread::hardware_concurrency());
  const bool is_live = std::ranges::any_of(options.sources, is_live_source);
  return is_live || cores > kMost ? 1 : std::max(cores, 1);
}

int run_video(const VideoOptions& options) {
  const auto model = options.model.empty() ? default_model() : std::filesystem::path(options.model);
  Options engine = options.engine;
  // The second round of the tracker lives on detections that nobody is shown.
  const float shown_score = engine.min_score;
  if (options.is_tracking) engine.min_score = std::min(engine.min_score, options.tracker.low_score);
  const int lanes = lanes_on_cpu(options);
  if (lanes > 1) engine.threads_per_call = 1;
  const Detector detector = Detector::load(model, engine);
  VideoPipelineOptions pipeline;
  choose_decoder(options, detector, pipeline.source);
  std::vector<VideoSourceOptions> sources = plan_outputs(options);
  std::unique_ptr<JsonLines> lines;
  if (!options.jsonl.empty()) lines = std::make_unique<JsonLines>(options.jsonl);

  std::signal(SIGINT, request_stop);
  std::signal(SIGTERM, request_stop);
  VideoWindow window(options.is_displayed);

  pipeline.source.every = options.every;
  pipeline.source.max_fps = options.max_fps;
  pipeline.source.reader.deadline = std::chrono::milliseconds(static_cast<std::int64_t>(options.timeout_s * 1000));
  pipeline.writer.quality = options.quality;
  if (lanes > 1 && detector.info().device == Device::cpu) {
    pipeline.lanes = lanes;
  } else {
    pipeline.batch = static_cast<int>(std::min(options.sources.size(), static_cast<std::size_t>(engine.max_batch)));
  }
  if (options.is_tracking) pipeline.tracking = options.tracker;
  pipeline.shown_score = shown_score;
  pipeline.same_place = options.same_place;
  pipeline.needs_pictures = !options.outputs.crops.empty();
  FrameFiles files(options.outputs, sources, detector.class_names());
  pipeline.on_result = [&](std::size_t source, const VideoResult& result) {
    const VideoSourceOptions& from = sources[source];
    if (lines) lines->write(to_json_line(from.name, result, detector.class_names()));
    if (!files.is_empty()) files.add(from, source, result);
  };
  if (options.is_displayed) {
    pipeline.on_picture = [&](std::size_t source, const Picture& picture) { window.show(source, picture); };
  }
  VideoStatistics statistics;
  std::vector<VideoSourceReport> reports;
  double seconds = 0;
  {
    const StatusLine status(statistics);
    reports = run_video_pipeline(detector, sources, pipeline, stop_requested, statistics);
    seconds = status.seconds();
  }
  files.finish();
  print_summary(reports, statistics, seconds);
  int code = kAllWell;
  for (const VideoSourceReport& report : reports) {
    if (report.failure.empty()) continue;
    fmt::print(stderr, "vistazo: {}: {}\n", report.name, report.failure);
    code = kSomeInputFailed;
  }
  return code;
}

void add_tracking_options(CLI::App& command, VideoOptions& options) {
  TrackerOptions& t = options.tracker;
  command.add_flag("--track", options.is_tracking, "Follow objects from frame to frame: every one keeps a number");
  command.add_option("--track-score", t.high_score, "Detections that continue any track")->capture_default_str();
  command.add_option("--track-low-score", t.low_score, "Detections that may continue a track just seen")
      ->capture_default_str();
  command.add_option("--track-new-score", t.new_track_score, "Detections that start a track")->capture_default_str();
  command.add_option("--track-lost", t.max_lost_frames, "Frames for which an unseen object is remembered")
      ->capture_default_str();
  command.add_option("--track-margin", t.margin, "Boxes are compared larger by this fraction: for small, fast objects")
      ->capture_default_str();
  command.add_option("--truth", options.truth, "CSV of frame,label,x,y,width,height: prints MOTA and IDF1")
      ->type_name("FILE");
}

}  // namespace

void add_video_command(CLI::App& app, Run& run) {
  const auto options = std::make_shared<VideoOptions>();
  CLI::App* command = app.add_subcommand("video", "Find and follow objects in videos, cameras and streams");
  command->add_option("SOURCE", options->sources, "Files, cameras, streams")->required();
  command->add_option("--model", options->model, "Model folder; the shipped one if left out")->type_name("DIR");
  command
      ->add_option("--save", options->save,
                   "Write the annotated video: .mp4, .mov or .mkv; of several sources a folder")
      ->type_name("FILE");
  command->add_option("--jsonl", options->jsonl, "Write a line of JSON for every frame; - is standard output")
      ->type_name("FILE");
  command->add_option("--every", options->every, "Process one frame in so many")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--max-fps", options->max_fps, "Process no more frames a second; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--quality", options->quality, "Of the saved video: 0 (lossless) to 51")
      ->check(CLI::Range(0, 51).description(""))
      ->capture_default_str();
  command->add_option("--timeout", options->timeout_s, "Seconds of silence after which a stream is opened again")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_choice<DecoderChoice>(
      *command, "--decoder", options->decoder,
      {{"auto", DecoderChoice::automatic}, {"cpu", DecoderChoice::cpu}, {"nvdec", DecoderChoice::nvdec}},
      "What decodes; auto takes the GPU's decoder where the detector runs on it, and else the CPU");
  command
      ->add_option("--same-place", options->same_place,
                   "Of boxes that overlap by more than this IoU, whatever their classes, the best stays; 1: all")
      ->check(CLI::Range(0.0f, 1.0f).description(""))
      ->capture_default_str();
  command->add_flag("--display", options->is_displayed, "Show the annotated frames in a window");
  add_tracking_options(*command, *options);
  add_output_options(*command, options->outputs);
  add_detection_options(*command, options->engine);
  add_model_options(*command, options->engine);
  add_device_options(*command, options->engine);
  command->footer(kExamples);
  command->callback([options, &run] {
    if (!options->truth.empty()) options->is_tracking = true;
    run = [options] { return run_video(*options); };
  });
}

}  // namespace vistazo::apps
