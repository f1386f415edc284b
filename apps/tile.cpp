#include <fmt/core.h>
#include <vistazo/tiling.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/density.h"
#include "apps/json_output.h"
#include "apps/memory.h"
#include "apps/options.h"
#include "apps/outputs/outputs.h"
#include "apps/progress.h"
#include "apps/scans/scan.h"
#include "apps/tile_record.h"

namespace vistazo::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  vistazo tile slide.svs --json cells.jsonl --save density.jpg
  vistazo tile slide.svs --json cells.jsonl --resume
  vistazo tile scan.tif --window 640 --overlap 0.25 --geojson cells.geojson
  vistazo tile slide.ndpi --scale 0.5 --csv cells.csv --classes nucleus

Slides and pyramids (SVS, NDPI, MRXS, tiled TIFF and BigTIFF) and other TIFFs are
read part by part; other pictures whole. Objects are in full-resolution pixels.
)";

struct TileOptions {
  std::string model, input, json, geojson, save;
  double scale = 1.0;
  bool is_resuming = false;
  OutputOptions outputs;
  TilingOptions tiling;
  Options engine;
};

// Ctrl-C asks for an end after the windows at hand; a second one ends at once.
volatile std::sig_atomic_t g_is_interrupted = 0;

class InterruptGuard {
 public:
  InterruptGuard() {
    struct sigaction action {};
    action.sa_handler = [](int) { g_is_interrupted = 1; };
    action.sa_flags = SA_RESETHAND;
    for (const int signal : {SIGINT, SIGTERM}) ::sigaction(signal, &action, nullptr);
  }
  ~InterruptGuard() {
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

// The first line of the record: what a run must have in common with the one that it continues.
Json request_of(const TileOptions& o, const Scan& scan, const ModelInfo& model) {
  const TilingOptions& t = o.tiling;
  const bool is_nmm = t.merge == TilingOptions::Merge::nmm, is_iou = t.measure == TilingOptions::Measure::iou;
  return {{"scan", o.input},
          {"width", scan.width},
          {"height", scan.height},
          {"model", model.source},
          {"precision", to_string(model.precision)},
          {"window", t.window},
          {"overlap", rounded(t.overlap, 4)},
          {"scale", o.scale},
          {"merge", is_nmm ? "nmm" : "nms"},
          {is_iou ? "iou" : "ios", rounded(t.threshold, 4)},
          {"vote", t.vote},
          {"whole_image", t.whole_image},
          {"min_score", rounded(o.engine.min_score, 5)},
          {"class_min_scores", o.engine.class_min_scores},
          {"classes", o.engine.classes},
          {"max_detections", o.engine.max_detections},
          {"nms", rounded(o.engine.nms_iou, 4)}};
}

// Everything that is told about objects while a scan is being looked at.
class TileOutputs {
 public:
  TileOutputs(const TileOptions& o, const Scan& scan, const std::vector<std::string>& class_names)
      : outputs_(o.outputs, class_names, false), scan_(scan), density_(scan.width, scan.height) {
    if (!o.geojson.empty()) outputs_.add(make_geojson_writer(o.geojson, class_names, scan.left, scan.top));
    if (!o.outputs.crops.empty()) crop_reader_ = scan.reader->clone();
    const Input input{o.input, ""};
    finding_.source = o.input;
    finding_.name = input.path.stem().string();
    finding_.image_id = coco_image_ids(o.outputs, {input}).front();
    finding_.width = scan.width;
    finding_.height = scan.height;
    finding_.pixels = [this](const Rect& part) { return read_crop(part); };
    finding_.is_last_part = false;
  }

  // In full-resolution pixels.
  void add(const Detections& objects) {
    for (const Detection& object : objects) {
      ++counts_[object.class_id];
      density_.add(object);
    }
    finding_.objects = objects;
    outputs_.add(finding_);
  }

  void finish() {
    finding_.objects = {};
    finding_.is_last_part = true;
    outputs_.add(finding_);
    outputs_.finish();
  }

  const DensityMap& density() const { return density_; }
  const std::map<int, std::int64_t>& counts() const { return counts_; }

 private:
  // At the resolution that was looked at.
  Picture read_crop(const Rect& part) {
    RegionReader& reader = *crop_reader_;
    const auto x = [&](int v) {
      return std::clamp(static_cast<int>((v - scan_.left) / scan_.scale_x), 0, reader.width());
    };
    const auto y = [&](int v) {
      return std::clamp(static_cast<int>((v - scan_.top) / scan_.scale_y), 0, reader.height());
    };
    const int left = std::min(x(part.left), reader.width() - 1), top = std::min(y(part.top), reader.height() - 1);
    const int width = std::max(1, x(part.right) - left), height = std::max(1, y(part.bottom) - top);
    const auto pixels = std::make_shared<std::vector<std::uint8_t>>(3 * static_cast<std::size_t>(width) *
                                                                    static_cast<std::size_t>(height));
    reader.read(left, top, width, height, pixels->data(), 3 * width);
    for (std::size_t i = 0; i < pixels->size(); i += 3) std::swap((*pixels)[i], (*pixels)[i + 2]);  // blue first
    return {std::shared_ptr<std::uint8_t>(pixels, pixels->data()), width, height, 3 * width};
  }

  Outputs outputs_;
  const Scan& scan_;
  std::unique_ptr<RegionReader> crop_reader_;
  Finding finding_;
  DensityMap density_;
  std::map<int, std::int64_t> counts_;
};

// Where the time went. The parts overlap, so their shares of the run may add up to more than all of it.
void print_summary(const Scan& scan, const TilingReport& report, const TimeSpent& spent, const TileOutputs& outputs,
                   const std::vector<std::string>& class_names, int all_windows) {
  const double seconds = std::max(report.elapsed_seconds, 1e-9);
  const double megapixels = 1e-6 * scan.reader->width() * scan.reader->height() * report.windows_detected / all_windows;
  const auto share = [&](double part) { return fmt::format("{:.1f} s ({:.0f} %)", part, 100 * part / seconds); };
  fmt::print("scan        {} x {} pixels, {}\n", scan.width, scan.height, scan.format);
  fmt::print("windows     {} of {}, {} in this run\n", report.windows, all_windows, report.windows_detected);
  fmt::print("objects     {}\n", report.objects);
  for (const auto& [id, count] : outputs.counts())
    fmt::print("            {} {}\n", count, class_name(id, class_names));
  fmt::print("time        {:.1f} s, {:.1f} megapixels/s\n", seconds, megapixels / seconds);
  fmt::print("            reading {}, preprocessing {}, inference {}, merging {}\n", share(report.read_seconds),
             share(spent.preprocess), share(spent.forward + spent.postprocess), share(report.merge_seconds));
  fmt::print("memory      {:.0f} MiB at most\n", static_cast<double>(process_memory().peak_resident_bytes) / (1 << 20));
}

int report_interrupt(const TileOptions& options, const TilingReport& report, int all_windows) {
  constexpr int kInterrupted = 130;  // 128 + SIGINT, as shells have it
  const bool can_resume = !options.json.empty() && options.json != "-";
  fmt::print(stderr, "vistazo: interrupted after {} of {} windows{}\n", report.windows, all_windows,
             can_resume ? "; the same command with --resume goes on" : "; with --json FILE a run can be resumed");
  return kInterrupted;
}

int run_tile(const TileOptions& options) {
  const auto model = options.model.empty() ? default_model() : std::filesystem::path(options.model);
  const Detector detector = Detector::load(model, options.engine);
  Scan scan = [&] {
    try {
      return open_scan(options.input, options.scale);
    } catch (const Error& e) {
      throw Error(e.code, fmt::format("{}: {}", options.input, e.what()));
    }
  }();
  TilingOptions tiling = options.tiling;
  tiling.window = static_cast<int>(std::lround(options.tiling.window / (options.scale * scan.scale_x)));
  const TiledDetector tiled(detector, tiling);
  const int all_windows = tiled.window_count(scan.reader->width(), scan.reader->height());
  const std::vector<std::string> class_names(detector.class_names().begin(), detector.class_names().end());

  std::optional<TileRecord> record;
  if (!options.json.empty()) {
    record.emplace(options.json, request_of(options, scan, detector.info()), options.is_resuming, class_names);
  }
  TileOutputs outputs(options, scan, class_names);
  const InterruptGuard guard;
  std::stop_source stop;
  const int known = record ? record->known_windows() : 0;
  Progress progress(static_cast<std::size_t>(all_windows), "windows", static_cast<std::size_t>(known));
  TilingEvents events;
  if (record) events.next_known = [&] { return record->next_known(); };
  events.on_window = [&](int window, const Detections& detections) {
    if (record) record->add_window(window, detections);
    progress.advance();
    if (g_is_interrupted) stop.request_stop();
  };
  events.on_objects = [&](const Detections& found) {
    Detections objects;
    for (const Detection& d : found) objects.push_back(scan.to_full(d));
    if (record) record->add_objects(objects);
    outputs.add(objects);
  };
  const TilingReport report = tiled.run(*scan.reader, events, stop.get_token());
  progress.hide();
  if (!report.is_complete) return report_interrupt(options, report, all_windows);
  if (record) record->finish(report.windows, report.objects);
  outputs.finish();
  if (!options.save.empty()) {
    Scan small = open_scan(options.input, std::min(1.0, 1.0 * kOverviewSide / std::max(scan.width, scan.height)));
    write_picture(options.save, draw_density(small, outputs.density()));
  }
  if (options.json != "-") print_summary(scan, report, detector.time_spent(), outputs, class_names, all_windows);
  return kAllWell;
}

void add_window_options(CLI::App& command, TileOptions& options) {
  TilingOptions& t = options.tiling;
  const auto percentage = CLI::Range(0.0, 1.0).description("");
  command.add_option("--window", t.window, "Side of a window, in pixels at the scale")->capture_default_str();
  command.add_option("--overlap", t.overlap, "Of neighbouring windows, in units of their side")->capture_default_str();
  command.add_option("--scale", options.scale, "Of the full resolution: 0.5 looks at every other pixel")
      ->check(CLI::Range(0.001, 100.0).description(""))
      ->capture_default_str();
  command
      .add_option_function<std::string>(
          "--merge",
          [&t](const std::string& name) {
            t.merge = name == "nms" ? TilingOptions::Merge::nms : TilingOptions::Merge::nmm;
          },
          "What windows share: nms keeps the best box, nmm also joins the parts of what no window shows whole")
      ->check(CLI::IsMember({"nms", "nmm"}))
      ->default_str("nmm");
  const auto set = [&t](TilingOptions::Measure measure) {
    return [&t, measure](float threshold) {
      t.measure = measure;
      t.threshold = threshold;
    };
  };
  CLI::Option* iou = command.add_option_function<float>("--iou", set(TilingOptions::Measure::iou),
                                                        "From this intersection over union on, boxes are one object");
  iou->check(percentage)->default_str("0.5");
  command
      .add_option_function<float>("--ios", set(TilingOptions::Measure::ios),
                                  "The same by intersection over the smaller box")
      ->check(percentage)
      ->excludes(iou);
  command.add_flag("!--no-vote", t.vote, "Keep what a single window has found, though others show it too");
  command.add_flag("--whole", t.whole_image, "Look at the whole image too, for objects larger than half a window");
}

}  // namespace

void add_tile_command(CLI::App& app, Run& run) {
  const auto options = std::make_shared<TileOptions>();
  CLI::App* command = app.add_subcommand("tile", "Find objects in scans and images of any size");
  command->add_option("INPUT", options->input, "A slide, scan or image")->required();
  command->add_option("--model", options->model, "Model folder; the shipped one if left out")->type_name("DIR");
  add_window_options(*command, *options);
  command->add_option("--json", options->json, "Write windows and objects as JSON lines; - is standard output")
      ->type_name("FILE");
  command->add_flag("--resume", options->is_resuming, "Go on from FILE.partial of --json, if there is one");
  command->add_option("--geojson", options->geojson, "Write the objects for QuPath")->type_name("FILE");
  command->add_option("--save", options->save, "Write an overview with the density of the objects")->type_name("FILE");
  add_output_options(*command, options->outputs);
  add_detection_options(*command, options->engine);
  add_device_options(*command, options->engine);
  command->footer(kExamples);
  command->callback([options, &run] { run = [options] { return run_tile(*options); }; });
}

}  // namespace vistazo::apps
