#pragma once

#include <vistazo/detector.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace vistazo::apps {

// An option whose value is one of a few names, "auto" among them, which its value stands for.
template <typename Value>
CLI::Option* add_choice(CLI::App& command, const std::string& name, Value& value,
                        const std::map<std::string, Value>& choices, const std::string& description) {
  std::vector<std::string> names;
  for (const auto& choice : choices) names.push_back(choice.first);
  const auto set = [&value, choices](const std::string& text) { value = choices.at(text); };
  return command.add_option_function<std::string>(name, set, description)
      ->transform(CLI::IsMember(names, CLI::ignore_case))
      ->default_str("auto");
}

// --arch and --labels.
void add_model_options(CLI::App& command, Options& options);

// One name a line; or JSON, such as a config.json: {"id2label": {"0": "cat", ...}} or its inner object, or a list of
// names. Throws Error{file}.
std::vector<std::string> read_labels(const std::filesystem::path& path);

// --device, --gpu, --precision and --threads.
void add_device_options(CLI::App& command, Options& options);

// --dtype, of tensors in a file.
void add_dtype_option(CLI::App& command, Precision& dtype);

// --batch, --min-score (with scores of single classes), --classes, --max-detections and --nms; their defaults are what
// `options` holds.
void add_detection_options(CLI::App& command, Options& options);

// The shipped model: $VISTAZO_MODEL, else the installed one, else that of the source tree the program was built in.
// Throws Error{file} naming the places where it was looked for.
std::filesystem::path default_model();

struct InputSize {
  int height = 0, width = 0;
};

// HEIGHTxWIDTH, or one number for both. Throws CLI::ValidationError that names the option.
InputSize parse_size(const std::string& option, const std::string& text);

// --size HEIGHTxWIDTH, or one number for both.
void add_size_option(CLI::App& command, InputSize& size);

// The size asked for, else the model's own. Throws Error{argument} where neither is known.
InputSize input_size(const InputSize& asked, const ModelInfo& model);

const char* to_string(Device device);
const char* to_string(Precision precision);

}  // namespace vistazo::apps
