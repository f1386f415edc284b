#include <fmt/core.h>
#include <vistazo/detector.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "apps/class_matching.h"
#include "apps/coco_eval.h"
#include "apps/coco_file.h"
#include "apps/commands.h"
#include "apps/detection_loop.h"
#include "apps/json_output.h"
#include "apps/options.h"
#include "apps/progress.h"

namespace vistazo::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  vistazo eval --model weights/cells --images data/cells/images \
    --annotations data/cells/instances_val.json
  vistazo eval --model my_model --images val2017 --annotations instances_val2017.json \
    --precision f32 --max-detections 300 --json metrics.json

The metric is COCO's (pycocotools, bbox). Classes are matched by name, or by id
where no name matches. A category that the model does not know counts as missed.
)";

struct EvalOptions {
  std::string model, images, annotations, json;
  Options engine;
  int max_detections = 100;  // of one category in one image
};

std::vector<Input> inputs_of(const CocoFile& data, const std::filesystem::path& folder) {
  std::vector<Input> inputs;
  for (const CocoImage& image : data.images) {
    const std::filesystem::path path = folder / image.file_name;
    std::error_code error;
    inputs.push_back({path, std::filesystem::exists(path, error) ? "" : "no such file"});
  }
  return inputs;
}

void append(const Detections& detections, std::int64_t image_id, const ClassMatching& matching,
            std::vector<CocoDetection>& all) {
  for (const Detection& detection : detections) {
    const auto category = matching.category_of_class.find(detection.class_id);
    if (category == matching.category_of_class.end()) continue;
    const Box& box = detection.box;
    all.push_back({image_id, category->second, {box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0}, detection.score});
  }
}

Json to_json(const CocoMetrics& metrics, const CocoFile& data, const ClassMatching& matching, std::size_t images) {
  constexpr int kDecimals = 5;
  const auto number = [](double value) { return rounded(value, kDecimals); };
  Json per_class = Json::object();
  for (std::size_t i = 0; i < data.categories.size(); ++i) {
    const CategoryMetrics& category = metrics.categories[i];
    per_class[data.categories[i].name] = {{"AP", number(category.ap)},
                                          {"AP50", number(category.ap50)},
                                          {"AR", number(category.ar)},
                                          {"truths", category.truths}};
  }
  return {{"AP", number(metrics.ap)},
          {"AP50", number(metrics.ap50)},
          {"AP75", number(metrics.ap75)},
          {"APs", number(metrics.ap_small)},
          {"APm", number(metrics.ap_medium)},
          {"APl", number(metrics.ap_large)},
          {"AR", number(metrics.ar)},
          {"per_class", per_class},
          {"images", images},
          {"unmatched_categories", matching.unmatched}};
}

std::string metric_text(double value) {
  return value < 0 ? "-" : fmt::format("{:.4f}", value);
}

void print_metrics(const CocoMetrics& metrics, const CocoFile& data, std::size_t images, int max_detections) {
  fmt::print("{} images, the {} best detections of a class\n\n", images, max_detections);
  fmt::print("{:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n", "AP", "AP50", "AP75", "APs", "APm", "APl", "AR");
  for (double value :
       {metrics.ap, metrics.ap50, metrics.ap75, metrics.ap_small, metrics.ap_medium, metrics.ap_large, metrics.ar}) {
    fmt::print("{:>8} ", metric_text(value));
  }
  std::size_t width = 5;
  for (const CocoCategory& category : data.categories) width = std::max(width, category.name.size());
  fmt::print("\n\n{:{}} {:>8} {:>8} {:>8} {:>8}\n", "class", width, "AP", "AP50", "AR", "truths");
  for (std::size_t i = 0; i < data.categories.size(); ++i) {
    const CategoryMetrics& category = metrics.categories[i];
    fmt::print("{:{}} {:>8} {:>8} {:>8} {:>8}\n", data.categories[i].name, width, metric_text(category.ap),
               metric_text(category.ap50), metric_text(category.ar), category.truths);
  }
}

CocoMetrics evaluate(const CocoFile& data, const std::vector<CocoDetection>& detections,
                     const std::vector<std::int64_t>& image_ids, int max_detections) {
  std::vector<std::int64_t> category_ids;
  for (const CocoCategory& category : data.categories) category_ids.push_back(category.id);
  return evaluate_coco(data.truths, detections, image_ids, category_ids, max_detections);
}

int run_eval(const EvalOptions& options) {
  require_image_reader();
  const CocoFile data = read_coco_file(options.annotations);
  Options engine = options.engine;
  engine.max_detections = std::max(options.max_detections, 300);  // of an image: room for all classes
  const Detector detector = Detector::load(options.model, engine);
  const ClassMatching matching = match_classes(detector.class_names(), data.categories);
  for (const std::string& name : matching.unmatched) {
    fmt::print(stderr, "vistazo: category '{}' is no class of the model: all of it counts as missed\n", name);
  }

  const std::vector<Input> inputs = inputs_of(data, options.images);
  std::vector<CocoDetection> detections;
  std::vector<std::int64_t> image_ids;
  std::vector<Failure> failures;
  Progress progress(inputs.size());
  detect_all(detector, inputs, engine.max_batch, [&](DetectionResult&& result) {
    if (result.error.empty()) {
      image_ids.push_back(data.images[result.index].id);
      append(result.detections, image_ids.back(), matching, detections);
    } else {
      failures.push_back({inputs[result.index].path.string(), result.error});
    }
    progress.advance();
  });
  progress.hide();
  const CocoMetrics metrics = evaluate(data, detections, image_ids, options.max_detections);
  if (options.json != "-") print_metrics(metrics, data, image_ids.size(), options.max_detections);
  if (!options.json.empty()) write_json(options.json, to_json(metrics, data, matching, image_ids.size()));
  return report_failures(failures, inputs.size());
}

}  // namespace

void add_eval_command(CLI::App& app, Run& run) {
  const auto options = std::make_shared<EvalOptions>();
  options->engine.min_score = 0.0f;  // the metric needs the whole ranking
  CLI::App* command = app.add_subcommand("eval", "Measure COCO average precision on annotated images");
  command->add_option("--model", options->model, "Model folder")->type_name("DIR")->required();
  command->add_option("--images", options->images, "Folder of the images")->type_name("DIR")->required();
  command->add_option("--annotations", options->annotations, "Annotations in the COCO format")
      ->type_name("FILE")
      ->required();
  command->add_option("--json", options->json, "Write the metrics as JSON; - is standard output")->type_name("FILE");
  add_detection_options(*command, options->engine);
  command->remove_option(command->get_option("--max-detections"));
  command->add_option("--max-detections", options->max_detections, "Of one class in one image, the best count")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  add_model_options(*command, options->engine);
  add_device_options(*command, options->engine);
  command->footer(kExamples);
  command->callback([options, &run] { run = [options] { return run_eval(*options); }; });
}

}  // namespace vistazo::apps
