#include "apps/options.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <charconv>
#include <cstdlib>
#include <map>
#include <string_view>
#include <vector>

namespace vistazo::apps {
namespace fs = std::filesystem;
namespace {

// Without the type and range in the help, where they only make noise.
template <typename Value>
CLI::Validator between(Value low, Value high) {
  return CLI::Range(low, high).description("");
}

bool parse_integer(std::string_view text, int& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// 0.4 is for all classes, "red blood cell=0.5" for one.
void set_min_scores(const std::vector<std::string>& texts, Options& options) {
  for (const std::string& text : texts) {
    const std::size_t equals = text.rfind('=');
    const std::string_view number = std::string_view(text).substr(equals == std::string::npos ? 0 : equals + 1);
    float score = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), score);
    if (error != std::errc() || end != number.data() + number.size() || !(score >= 0 && score <= 1)) {
      throw CLI::ValidationError("--min-score", "is a score from 0 to 1, or CLASS=SCORE; not '" + text + "'");
    }
    if (equals == std::string::npos) {
      options.min_score = score;
    } else {
      options.class_min_scores[text.substr(0, equals)] = score;
    }
  }
}

}  // namespace

InputSize parse_size(const std::string& option, const std::string& text) {
  const std::size_t separator = text.find_first_of("xX");
  InputSize size;
  const bool is_valid = separator == std::string::npos
                            ? parse_integer(text, size.height) && parse_integer(text, size.width)
                            : parse_integer(std::string_view(text).substr(0, separator), size.height) &&
                                  parse_integer(std::string_view(text).substr(separator + 1), size.width);
  if (!is_valid || size.height < 1 || size.width < 1) {
    throw CLI::ValidationError(option, "is HEIGHTxWIDTH in pixels, such as 512x640; not '" + text + "'");
  }
  return size;
}

void add_model_options(CLI::App& command, Options& options) {
  command
      .add_option("--arch", options.architecture,
                  "Published size, such as rf-detr-nano, of weights without a config.json")
      ->type_name("NAME");
  command
      .add_option_function<std::string>(
          "--labels", [&options](const std::string& file) { options.class_names = read_labels(file); },
          "Names of the classes: one a line, or a JSON file with id2label")
      ->type_name("FILE");
}

void add_device_options(CLI::App& command, Options& options) {
  add_choice<Device>(command, "--device", options.device,
                     {{"auto", Device::automatic}, {"cpu", Device::cpu}, {"cuda", Device::cuda}},
                     "Where to run; auto takes a GPU if there is one");
  command.add_option("--gpu", options.gpu, "Index of the GPU")->check(CLI::NonNegativeNumber)->capture_default_str();
  add_choice<Precision>(
      command, "--precision", options.precision,
      {{"auto", Precision::automatic}, {"f32", Precision::f32}, {"bf16", Precision::bf16}, {"f16", Precision::f16}},
      "Of the matrix products; auto takes the fastest that keeps the results");
  command.add_option("--threads", options.cpu_threads, "CPU threads; 0 takes all cores")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

void add_dtype_option(CLI::App& command, Precision& dtype) {
  add_choice<Precision>(
      command, "--dtype", dtype,
      {{"auto", Precision::automatic}, {"f32", Precision::f32}, {"bf16", Precision::bf16}, {"f16", Precision::f16}},
      "Type of the tensors in the file; auto keeps what is stored");
}

void add_detection_options(CLI::App& command, Options& options) {
  command.add_option("--batch", options.max_batch, "Images that run at once")
      ->check(between(1, 4096))
      ->capture_default_str();
  command
      .add_option_function<std::vector<std::string>>(
          "--min-score", [&options](const std::vector<std::string>& texts) { set_min_scores(texts, options); },
          "Leave out detections below this score; person=0.5 is that of one class")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("[CLASS=]SCORE")
      ->default_str(fmt::format("{}", options.min_score));
  command.add_option("--classes", options.classes, "Only these classes: a,b")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAMES");
  command.add_option("--max-detections", options.max_detections, "Keep the best of an image")
      ->check(between(1, 1000000))
      ->capture_default_str();
  command
      .add_option("--nms", options.nms_iou, "Drop boxes that overlap a better one of their class by this IoU; 0: off")
      ->check(between(0.0, 1.0))
      ->capture_default_str();
}

fs::path default_model() {
  std::vector<fs::path> places;
  if (const char* named = std::getenv("VISTAZO_MODEL"); named && *named) {
    places.emplace_back(named);
  } else {
    std::error_code error;
    const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
    places.push_back(folder.parent_path() / "share/vistazo/weights/cells");
    places.push_back(folder.parent_path().parent_path() / "weights/cells");  // of build/<preset>/vistazo
  }
  std::string list;
  for (const fs::path& place : places) {
    std::error_code error;
    if (fs::exists(place, error)) return place;
    list += (list.empty() ? "" : ", ") + place.string();
  }
  throw Error(Error::Code::file,
              fmt::format("the shipped model is not at {}; name one with --model or VISTAZO_MODEL", list));
}

void add_size_option(CLI::App& command, InputSize& size) {
  command
      .add_option_function<std::string>(
          "--size", [&size](const std::string& text) { size = parse_size("--size", text); },
          "Input height and width in pixels; the model's own if left out")
      ->type_name("HxW");
}

InputSize input_size(const InputSize& asked, const ModelInfo& model) {
  if (asked.height > 0) return asked;
  if (model.input_height > 0 && model.input_width > 0) return {model.input_height, model.input_width};
  throw Error(Error::Code::argument, "this model has no input size of its own: give one with --size HEIGHTxWIDTH");
}

const char* to_string(Device device) {
  switch (device) {
    case Device::automatic:
      return "auto";
    case Device::cuda:
      return "cuda";
    case Device::cpu:
      return "cpu";
  }
  return "unknown";
}

const char* to_string(Precision precision) {
  switch (precision) {
    case Precision::automatic:
      return "auto";
    case Precision::f32:
      return "f32";
    case Precision::f16:
      return "f16";
    case Precision::bf16:
      return "bf16";
  }
  return "unknown";
}

}  // namespace vistazo::apps
