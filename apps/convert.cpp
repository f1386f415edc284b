#include <fmt/core.h>
#include <vistazo/convert.h>

#include <memory>
#include <string>

#include "apps/commands.h"
#include "apps/options.h"

namespace vistazo::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  vistazo convert rf-detr-nano.pth rf-detr-nano
  vistazo convert checkpoint_best_ema.pth my_model --arch rf-detr-small --labels names.txt
  vistazo convert rf-detr-nano.pth rf-detr-nano-half --dtype f16

DST becomes a Hugging Face folder: config.json, preprocessor_config.json and
model.safetensors. A model need not be converted to be run.
)";

struct ConvertCommand {
  std::string source, folder;
  Options model;  // architecture and class names
  ConvertOptions options;
};

int run_convert(ConvertCommand command) {
  command.options.architecture = command.model.architecture;
  command.options.class_names = command.model.class_names;
  const Conversion result = convert_model(command.source, command.folder, command.options);
  fmt::print("{}: {}{} with {} tensor names{}; {} tensors written to {}\n", command.source, result.family,
             result.architecture.empty() ? "" : " (" + result.architecture + ")", result.dialect,
             result.part.empty() ? "" : ", weights of " + result.part, result.tensors, command.folder);
  for (const std::string& name : result.left_out) {
    fmt::print(stderr, "vistazo: left out {}: its type is none that a model reads\n", name);
  }
  return kAllWell;
}

}  // namespace

void add_convert_command(CLI::App& app, Run& run) {
  const auto options = std::make_shared<ConvertCommand>();
  CLI::App* command = app.add_subcommand("convert", "Write a model as a Hugging Face folder");
  command->add_option("SRC", options->source, "A .pth, .pt or .safetensors file, or a model folder")->required();
  command->add_option("DST", options->folder, "The folder to write")->required();
  add_dtype_option(*command, options->options.dtype);
  add_model_options(*command, options->model);
  command->footer(kExamples);
  command->callback([options, &run] { run = [options] { return run_convert(*options); }; });
}

}  // namespace vistazo::apps
