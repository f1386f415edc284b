#include <fmt/core.h>
#include <vistazo/detector.h>
#include <vistazo/error.h>
#include <vistazo/tensor_file.h>

#include <limits>
#include <memory>
#include <string>

#include "apps/commands.h"
#include "apps/options.h"

namespace vistazo::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  vistazo forward --model weights/cells --input pixels.safetensors --output answers.safetensors
  vistazo forward --model weights/cells --precision f32 --device cpu \
    --input pixels.safetensors --output answers.safetensors

The input holds the tensor pixel_values (batch, 3, height, width), normalised.
The output holds logits (batch, queries, classes) and pred_boxes (batch, queries, 4):
centre x, centre y, width, height, in units of the input's width and height.
)";

struct ForwardOptions {
  std::string model, input, output;
  Options engine;
};

const FloatTensor& pixel_values(const std::map<std::string, FloatTensor>& tensors, const std::string& path) {
  const auto found = tensors.find("pixel_values");
  if (found == tensors.end()) {
    throw Error(Error::Code::argument, fmt::format("{}: has no floating-point tensor \"pixel_values\"", path));
  }
  const FloatTensor& pixels = found->second;
  bool is_valid = pixels.shape.size() == 4 && pixels.shape[1] == 3;
  for (std::int64_t extent : pixels.shape)
    is_valid = is_valid && extent > 0 && extent <= std::numeric_limits<int>::max();
  if (is_valid) return pixels;
  std::string shape;
  for (std::int64_t extent : pixels.shape) shape += fmt::format("{}{}", shape.empty() ? "" : ", ", extent);
  throw Error(Error::Code::argument,
              fmt::format("{}: \"pixel_values\" has shape ({}); (batch, 3, height, width) is needed", path, shape));
}

int run_forward(const ForwardOptions& options) {
  const auto tensors = read_tensor_file(options.input);
  const FloatTensor& pixels = pixel_values(tensors, options.input);
  const Detector detector = Detector::load(options.model, options.engine);
  RawOutputs outputs = detector.forward(pixels.values, static_cast<int>(pixels.shape[0]),
                                        static_cast<int>(pixels.shape[2]), static_cast<int>(pixels.shape[3]));
  const std::int64_t batch = outputs.batch, queries = outputs.queries, classes = outputs.classes;
  write_tensor_file(options.output, {{"logits", {{batch, queries, classes}, std::move(outputs.logits)}},
                                     {"pred_boxes", {{batch, queries, 4}, std::move(outputs.boxes)}}});
  return kAllWell;
}

}  // namespace

void add_forward_command(CLI::App& app, Run& run) {
  const auto options = std::make_shared<ForwardOptions>();
  CLI::App* command = app.add_subcommand("forward", "Run the bare model from tensors to tensors");
  command->add_option("--model", options->model, "Model folder")->type_name("DIR")->required();
  command->add_option("--input", options->input, "Tensors to read (.safetensors)")->type_name("FILE")->required();
  command->add_option("--output", options->output, "Tensors to write (.safetensors)")->type_name("FILE")->required();
  add_model_options(*command, options->engine);
  add_device_options(*command, options->engine);
  command->footer(kExamples);
  command->callback([options, &run] { run = [options] { return run_forward(*options); }; });
}

}  // namespace vistazo::apps
