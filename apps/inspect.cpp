#include <fmt/core.h>
#include <vistazo/detector.h>

#include <memory>
#include <optional>
#include <string>

#include "apps/commands.h"
#include "apps/json_output.h"
#include "apps/options.h"

namespace vistazo::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  vistazo inspect weights/cells
  vistazo inspect weights/cells --size 1024x1024
  vistazo inspect weights/cells --tensors --json -
)";

struct InspectOptions {
  std::string model, json;
  InputSize size;
  bool lists_tensors = false;
  Options engine;
};

// The cost at a size; the size is unknown for a model that takes images as they are.
struct SizedCost {
  InputSize size;
  Cost cost;
};

std::optional<SizedCost> cost_of(const Detector& detector, const InputSize& asked) {
  const ModelInfo& model = detector.info();
  if (asked.height == 0 && (model.input_height == 0 || model.input_width == 0)) return {};
  const InputSize size = input_size(asked, model);
  return SizedCost{size, detector.cost(1, size.height, size.width)};
}

Json to_json(const ModelInfo& model, const std::optional<SizedCost>& sized, bool lists_tensors) {
  Json json = {{"model", model.source},
               {"part", model.part},
               {"family", model.family},
               {"dialect", model.dialect},
               {"architecture", model.architecture},
               {"classes", model.class_names},
               {"input_height", model.input_height},
               {"input_width", model.input_width},
               {"height_multiple", model.height_multiple},
               {"width_multiple", model.width_multiple},
               {"queries", model.queries},
               {"parameters", model.parameters},
               {"device", to_string(model.device)},
               {"precision", to_string(model.precision)}};
  if (sized) {
    json["cost"] = {{"height", sized->size.height},
                    {"width", sized->size.width},
                    {"flops", sized->cost.flops},
                    {"bytes", sized->cost.bytes},
                    {"peak_scratch_bytes", sized->cost.peak_scratch_bytes},
                    {"weight_bytes", sized->cost.weight_bytes}};
  }
  if (!lists_tensors) return json;
  json["tensors"] = Json::array();
  for (const TensorInfo& tensor : model.tensors) {
    json["tensors"].push_back({{"name", tensor.name}, {"dtype", tensor.dtype}, {"shape", tensor.shape}});
  }
  return json;
}

double mebibytes(std::size_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

std::string class_list(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 8;
  std::string text = fmt::format("{}:", names.size());
  for (std::size_t i = 0; i < names.size() && i < kShown; ++i) text += (i == 0 ? " " : ", ") + names[i];
  return names.size() > kShown ? text + ", ..." : text;
}

void print_model(const ModelInfo& model, const std::optional<SizedCost>& sized) {
  const std::string size =
      model.input_height == 0 ? "that of the image" : fmt::format("{} x {}", model.input_height, model.input_width);
  fmt::print("model         {}\n", model.source);
  if (!model.part.empty()) fmt::print("weights       {}\n", model.part);
  fmt::print("family        {} ({} tensor names)\n", model.family, model.dialect);
  fmt::print("architecture  {}\n", model.architecture);
  fmt::print("classes       {}\n", class_list(model.class_names));
  fmt::print("input         {}; forward takes multiples of {} x {} (height x width)\n", size, model.height_multiple,
             model.width_multiple);
  fmt::print("queries       {}\n", model.queries);
  fmt::print("parameters    {:.2f} million\n", static_cast<double>(model.parameters) / 1e6);
  fmt::print("runs on       {}, {}\n", to_string(model.device), to_string(model.precision));
  if (!sized) return;
  fmt::print("cost          one image of {} x {}: {:.2f} GFLOP, {:.1f} MiB read and written\n", sized->size.height,
             sized->size.width, sized->cost.flops / 1e9, sized->cost.bytes / (1 << 20));
  fmt::print("memory        {:.1f} MiB weights, {:.1f} MiB scratch\n", mebibytes(sized->cost.weight_bytes),
             mebibytes(sized->cost.peak_scratch_bytes));
}

void print_tensors(const ModelInfo& model) {
  fmt::print("\n");
  for (const TensorInfo& tensor : model.tensors) {
    std::string shape;
    for (std::int64_t extent : tensor.shape) shape += fmt::format("{}{}", shape.empty() ? "" : ", ", extent);
    fmt::print("{:<5} ({})  {}\n", tensor.dtype, shape, tensor.name);
  }
}

int run_inspect(const InspectOptions& options) {
  const Detector detector = Detector::load(options.model, options.engine);
  const auto sized = cost_of(detector, options.size);
  if (options.json != "-") {
    print_model(detector.info(), sized);
    if (options.lists_tensors) print_tensors(detector.info());
  }
  if (!options.json.empty()) write_json(options.json, to_json(detector.info(), sized, options.lists_tensors));
  return kAllWell;
}

}  // namespace

void add_inspect_command(CLI::App& app, Run& run) {
  const auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand("inspect", "Show what a model is and what it costs");
  command->add_option("MODEL", options->model, "Model folder, .safetensors or .pth file")->required();
  command->add_option("--json", options->json, "Write it as JSON; - is standard output")->type_name("FILE");
  add_size_option(*command, options->size);
  command->add_flag("--tensors", options->lists_tensors, "List the tensors of the checkpoint");
  add_model_options(*command, options->engine);
  add_device_options(*command, options->engine);
  command->footer(kExamples);
  command->callback([options, &run] { run = [options] { return run_inspect(*options); }; });
}

}  // namespace vistazo::apps
