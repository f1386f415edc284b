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
#include "apps/progress.h"
#include "apps/save_names.h"

namespace vistazo::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  vistazo detect blood.jpg
  vistazo detect --json boxes.json --save annotated slides/
  vistazo detect --model weights/airspace --min-score 0.5 'flights/**/*.jpg'
  vistazo detect --json - photo.png | jq '.images[0].detections'

Inputs are JPEG, PNG, TIFF, WebP or BMP files, folders (with all folders below)
and patterns; quote a pattern to have it expanded by vistazo.
Without --model the shipped model weights/cells is taken (or $VISTAZO_MODEL).
)";

struct DetectOptions {
  std::string model, json, save;
  std::vector<std::string> inputs;
  Options engine;
};

// "3 platelet, 120 red blood cell", in the order of the classes.
std::string counts_text(const Detections& detections, std::span<const std::string> class_names) {
  std::map<int, int> counts;
  for (const Detection& detection : detections) ++counts[detection.class_id];
  std::string text;
  for (const auto& [id, count] : counts) {
    const bool is_named = id >= 0 && static_cast<std::size_t>(id) < class_names.size();
    const std::string name = is_named ? class_names[static_cast<std::size_t>(id)] : fmt::format("class {}", id);
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, name);
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
      if (annotated) annotated->add(path, std::move(result));
    }
    progress.advance();
  });
  if (json) json->finish();
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
  add_detection_options(*command, options->engine);
  add_model_options(*command, options->engine);
  add_device_options(*command, options->engine);
  command->footer(kExamples);
  command->callback([options, &run] { run = [options] { return run_detect(*options); }; });
}

}  // namespace vistazo::apps
