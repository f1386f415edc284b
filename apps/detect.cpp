#include <fmt/core.h>
#include <vistazo/detector.h>

#include <algorithm>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/annotate.h"
#include "apps/commands.h"
#include "apps/detection_loop.h"
#include "apps/image_io.h"
#include "apps/inputs.h"
#include "apps/json_output.h"
#include "apps/options.h"
#include "apps/outputs/outputs.h"
#include "apps/progress.h"
#include "apps/save_names.h"

namespace vistazo::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  vistazo detect blood.jpg
  vistazo detect --json boxes.json --save annotated slides/
  vistazo detect --model weights/airspace --min-score 0.5 'flights/**/*.jpg'
  vistazo detect --json - photo.png | jq '.images[0].detections'
  vistazo detect --classes platelet --csv platelets.csv --crops platelets slides/
  vistazo detect --native --min-score 0.4,nucleus=0.6 overview.tif

Inputs are JPEG, PNG, TIFF, WebP or BMP files, folders (with all folders below)
and patterns; quote a pattern to have it expanded by vistazo.
Without --model the shipped model weights/cells is taken (or $VISTAZO_MODEL).
)";

struct DetectOptions {
  std::string model, json, save;
  OutputOptions outputs;
  std::vector<std::string> inputs;
  Options engine;
};

// "3 platelet, 120 red blood cell", in the order of the classes.
std::string counts_text(const Detections& detections, std::span<const std::string> class_names) {
  std::map<int, int> counts;
  for (const Detection& detection : detections) ++counts[detection.class_id];
  std::string text;
  for (const auto& [id, count] : counts) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, class_name(id, class_names));
  }
  return text.empty() ? "nothing" : text;
}

// One line per image on standard output.
class Table {
 public:
  explicit Table(const std::vector<Input>& inputs) {
    constexpr std::size_t kWidest = 60;
    for (const Input& input : inputs) path_width_ = std::max(path_width_, input.path.native().size());
    path_width_ = std::min(path_width_, kWidest);
    fmt::print("{:{}}  {:>11}  {:>8}  {:>5}  found\n", "image", path_width_, "size", "ms", "best");
  }

  void add(const std::string& path, const DetectionResult& result, std::span<const std::string> class_names) {
    const std::string size = fmt::format("{}x{}", result.picture.width, result.picture.height);
    const std::string best = result.detections.empty() ? "-" : fmt::format("{:.3f}", result.detections.front().score);
    fmt::print("{:{}}  {:>11}  {:>8.1f}  {:>5}  {}\n", path, path_width_, size, result.milliseconds, best,
               counts_text(result.detections, class_names));
  }

  void add_failure(const std::string& path) { fmt::print("{:{}}  {:>11}\n", path, path_width_, "failed"); }

 private:
  std::size_t path_width_ = 5;
};

// Draws and encodes in threads of its own while the detector goes on; at most two pictures wait.
class AnnotatedPictures {
 public:
  AnnotatedPictures(const std::string& folder, const std::vector<Input>& inputs, std::span<const std::string> names)
      : names_(folder, inputs), class_names_(names) {}

  void add(const std::string& input, DetectionResult&& result) {
    if (pending_.size() == 2) wait_for_first();
    const auto path = names_.next(input, result.picture.is_lossless);
    pending_.push_back({input, std::async(std::launch::async, [path, result = std::move(result), names = class_names_] {
                          write_picture(path, draw_detections(result.picture, result.detections, names));
                        })});
  }

  // What could not be written.
  std::vector<Failure> finish() {
    while (!pending_.empty()) wait_for_first();
    return std::move(failures_);
  }

 private:
  struct Pending {
    std::string input;
    std::future<void> written;
  };

  void wait_for_first() {
    try {
      pending_.front().written.get();
    } catch (const std::exception& e) {
      failures_.push_back({pending_.front().input, e.what()});
    }
    pending_.erase(pending_.begin());
  }

  SaveNames names_;
  std::span<const std::string> class_names_;
  std::vector<Pending> pending_;
  std::vector<Failure> failures_;
};

// Feeds the tables, label files and crops that were asked for.
class ObjectFiles {
 public:
  ObjectFiles(const OutputOptions& options, const std::vector<Input>& inputs, std::span<const std::string> class_names)
      : outputs_(options, {class_names.begin(), class_names.end()}, false), ids_(coco_image_ids(options, inputs)) {
    for (const Input& input : inputs) names_.push_back(unique_.next(input.path.stem().string()));
  }

  void add(const std::string& path, const DetectionResult& result) {
    if (outputs_.is_empty()) return;
    Finding finding{path, names_[result.index], ids_[result.index]};
    finding.width = result.picture.width;
    finding.height = result.picture.height;
    finding.objects = result.detections;
    finding.pixels = [&](const Rect& part) { return cut_picture(result.picture, part); };
    outputs_.add(finding);
  }

  void finish() { outputs_.finish(); }

 private:
  Outputs outputs_;
  std::vector<std::int64_t> ids_;
  UniqueNames unique_;
  std::vector<std::string> names_;
};

int run_detect(const DetectOptions& options) {
  require_image_reader();
  const auto model = options.model.empty() ? default_model() : std::filesystem::path(options.model);
  const Detector detector = Detector::load(model, options.engine);
  const std::vector<Input> inputs = expand_inputs(options.inputs);

  std::optional<DetectionsJson> json;
  std::optional<Table> table;
  std::optional<AnnotatedPictures> annotated;
  if (!options.json.empty()) json.emplace(options.json, detector.info().source);
  if (options.json.empty()) table.emplace(inputs);
  if (!options.save.empty()) annotated.emplace(options.save, inputs, detector.class_names());
  ObjectFiles files(options.outputs, inputs, detector.class_names());

  Progress progress(inputs.size());
  std::vector<Failure> failures;
  detect_all(detector, inputs, options.engine.max_batch, [&](DetectionResult&& result) {
    const std::string path = inputs[result.index].path.string();
    if (table) progress.hide();
    if (!result.error.empty()) {
      if (json) json->add_failure(path, result.error);
      if (table) table->add_failure(path);
      failures.push_back({path, result.error});
    } else {
      const Picture& picture = result.picture;
      if (json) json->add(path, picture.width, picture.height, result.detections, detector.class_names());
      if (table) table->add(path, result, detector.class_names());
      files.add(path, result);
      if (annotated) annotated->add(path, std::move(result));
    }
    progress.advance();
  });
  if (json) json->finish();
  files.finish();
  if (annotated) {
    for (Failure& failure : annotated->finish()) failures.push_back(std::move(failure));
  }
  progress.hide();
  return report_failures(failures, inputs.size());
}

}  // namespace

void add_detect_command(CLI::App& app, Run& run) {
  const auto options = std::make_shared<DetectOptions>();
  CLI::App* command = app.add_subcommand("detect", "Find objects in images");
  command->add_option("INPUT", options->inputs, "Images, folders and patterns")->required();
  command->add_option("--model", options->model, "Model folder; the shipped one if left out")->type_name("DIR");
  command->add_option("--json", options->json, "Write the detections as JSON; - is standard output")->type_name("FILE");
  command->add_option("--save", options->save, "Write annotated pictures into this folder")->type_name("DIR");
  add_output_options(*command, options->outputs);
  CLI::Option* native = command->add_flag("--native", options->engine.native_size,
                                          "Run images at their own size, one at a time, instead of resizing them");
  add_detection_options(*command, options->engine);
  add_model_options(*command, options->engine);
  native->excludes("--batch");
  add_device_options(*command, options->engine);
  command->footer(kExamples);
  command->callback([options, &run] {
    if (options->engine.native_size) options->engine.max_batch = 1;  // memory grows with the images that run together
    run = [options] { return run_detect(*options); };
  });
}

}  // namespace vistazo::apps
