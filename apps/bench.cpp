#include <fmt/core.h>
#include <vistazo/detector.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/json_output.h"
#include "apps/memory.h"
#include "apps/options.h"

namespace vistazo::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  vistazo bench --model weights/cells
  vistazo bench --model weights/cells --batch 1,8 --precision f32 --threads 2 --json bench.json
  vistazo bench --config config.json --random-weights --size 640x640
  vistazo bench --model weights/cells --profile

Times forward passes on random pixels that are on the device already, by the device's clock. Then, with --stages, what
a batch of images of a size takes from pixels to boxes, and with --profile every operation of a pass on its own.
)";

struct BenchOptions {
  std::string model, config, json;
  bool has_random_weights = false, has_profile = false;
  InputSize stages;  // of the images; none: not timed
  std::vector<int> batches = {1};
  InputSize size;
  int warmup = 3;
  double seconds = 3.0;
  Options engine;
};

struct BenchResult {
  int batch;
  double median_ms, p10_ms, p90_ms;
  std::size_t runs;
  Cost cost;
  ProcessMemory memory;
  StageTimes stages;
  DeviceMemory device;
  std::vector<OperationTime> operations;

  double images_per_second() const { return 1000.0 * batch / median_ms; }
  double gflops() const { return cost.flops / median_ms * 1e-6; }
};

// Linear between the two nearest of the sorted values.
double quantile(const std::vector<double>& sorted, double share) {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], position - std::floor(position));
}

// Of one image size; medians of several batches.
StageTimes measure_stages(const Detector& detector, int batch, const InputSize& size) {
  constexpr int kRuns = 15, kWarmup = 4;
  const auto columns = static_cast<std::size_t>(size.width) * 3;
  std::vector<std::uint8_t> pixels(columns * static_cast<std::size_t>(size.height));
  std::minstd_rand generator(0);
  for (std::uint8_t& pixel : pixels) pixel = static_cast<std::uint8_t>(generator() >> 8);
  const Image image{pixels.data(), size.width, size.height, static_cast<std::ptrdiff_t>(columns), PixelFormat::rgb8};
  const std::vector<Image> images(static_cast<std::size_t>(batch), image);
  std::vector<double> prepare, model, finish;
  for (int i = 0; i < kWarmup + kRuns; ++i) {
    const StageTimes times = detector.time_stages(images);
    if (i < kWarmup) continue;
    prepare.push_back(times.prepare_ms);
    model.push_back(times.model_ms);
    finish.push_back(times.finish_ms);
  }
  const auto median = [](std::vector<double>& values) {
    std::ranges::sort(values);
    return quantile(values, 0.5);
  };
  return {median(prepare), median(model), median(finish)};
}

// At least three passes, and as many more as fit into the time that they should take.
std::vector<double> sorted_times(const Detector& detector, int batch, const InputSize& size,
                                 const BenchOptions& options) {
  constexpr int kFewest = 3, kMost = 100000;
  const std::vector<double> first = detector.time_forward(batch, size.height, size.width, options.warmup + kFewest);
  const double one = *std::ranges::min_element(first);
  const int runs = std::clamp(static_cast<int>(options.seconds * 1000 / std::max(one, 1e-3)), 0, kMost);
  std::vector<double> milliseconds(first.begin() + options.warmup, first.end());
  if (runs > kFewest) milliseconds = detector.time_forward(batch, size.height, size.width, runs);
  std::ranges::sort(milliseconds);
  return milliseconds;
}

BenchResult measure(const Detector& detector, int batch, const InputSize& size, const BenchOptions& options) {
  const std::vector<double> milliseconds = sorted_times(detector, batch, size, options);
  BenchResult result{.batch = batch,
                     .median_ms = quantile(milliseconds, 0.5),
                     .p10_ms = quantile(milliseconds, 0.1),
                     .p90_ms = quantile(milliseconds, 0.9),
                     .runs = milliseconds.size(),
                     .cost = detector.cost(batch, size.height, size.width),
                     .memory = process_memory(),
                     .stages = {},
                     .device = detector.device_memory(),
                     .operations = {}};
  if (options.stages.height > 0) result.stages = measure_stages(detector, batch, options.stages);
  if (options.has_profile) result.operations = detector.profile_forward(batch, size.height, size.width);
  return result;
}

Json to_json(const OperationTime& o) {
  return {{"name", o.name},
          {"sizes", o.sizes},
          {"count", o.count},
          {"microseconds", rounded(o.milliseconds * 1000, 3)},
          {"gflops", rounded(o.flops / o.milliseconds * 1e-6, 1)},
          {"gigabytes_per_second", rounded(o.bytes / o.milliseconds * 1e-6, 1)}};
}

Json to_json(const BenchResult& result, const InputSize& size, const ModelInfo& model) {
  Json json = {{"device", to_string(model.device)},
               {"precision", to_string(model.precision)},
               {"batch", result.batch},
               {"height", size.height},
               {"width", size.width},
               {"runs", result.runs},
               {"median_ms", rounded(result.median_ms, 4)},
               {"p10_ms", rounded(result.p10_ms, 4)},
               {"p90_ms", rounded(result.p90_ms, 4)},
               {"images_per_second", rounded(result.images_per_second(), 3)},
               {"gflops", rounded(result.gflops(), 2)},
               {"peak_scratch_bytes", result.cost.peak_scratch_bytes},
               {"resident_bytes", result.memory.resident_bytes},
               {"peak_resident_bytes", result.memory.peak_resident_bytes}};
  if (!result.device.name.empty()) {
    json["device_name"] = result.device.name;
    json["device_peak_bytes"] = result.device.peak_bytes;
    json["device_used_bytes"] = result.device.used_bytes;
  }
  if (result.stages.model_ms > 0) {
    json["stages"] = {{"prepare_ms", rounded(result.stages.prepare_ms, 4)},
                      {"model_ms", rounded(result.stages.model_ms, 4)},
                      {"finish_ms", rounded(result.stages.finish_ms, 4)}};
  }
  if (!result.operations.empty()) json["operations"] = Json::array();
  for (const OperationTime& operation : result.operations) json["operations"].push_back(to_json(operation));
  return json;
}

void print_stages(const BenchResult& result) {
  const StageTimes& s = result.stages;
  fmt::print("      images to boxes: {:.3f} ms to prepare, {:.3f} ms in the model, {:.3f} ms to finish\n", s.prepare_ms,
             s.model_ms, s.finish_ms);
}

// The operations that take longest come first.
void print_operations(std::vector<OperationTime> operations) {
  const auto total = [](const OperationTime& o) { return o.count * o.milliseconds; };
  std::ranges::sort(operations, [&](const auto& a, const auto& b) { return total(a) > total(b); });
  double sum = 0;
  for (const OperationTime& o : operations) sum += total(o);
  fmt::print("      {:<22} {:>22} {:>5} {:>9} {:>6} {:>9} {:>8}\n", "operation", "sizes", "count", "us each", "share",
             "GFLOP/s", "GB/s");
  for (const OperationTime& o : operations) {
    const std::string sizes = fmt::format("{} {} {}", o.sizes[0], o.sizes[1], o.sizes[2]);
    fmt::print("      {:<22} {:>22} {:>5} {:>9.2f} {:>5.1f}% {:>9.0f} {:>8.0f}\n", o.name, sizes, o.count,
               o.milliseconds * 1000, 100 * total(o) / sum, o.flops / o.milliseconds * 1e-6,
               o.bytes / o.milliseconds * 1e-6);
  }
  fmt::print("      {:<22} {:>22} {:>5} {:>9.2f}\n", "all", "", "", sum * 1000);
}

void print_result(const BenchResult& result) {
  const bool is_gpu = !result.device.name.empty();
  const auto memory = static_cast<double>(is_gpu ? result.device.peak_bytes : result.memory.resident_bytes);
  fmt::print("{:>5} {:>10.3f} {:>10.3f} {:>10.3f} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.1f}\n", result.batch,
             result.median_ms, result.p10_ms, result.p90_ms, result.images_per_second(), result.gflops(),
             static_cast<double>(result.cost.peak_scratch_bytes) / (1 << 20), memory / (1 << 20));
  if (result.stages.model_ms > 0) print_stages(result);
  if (!result.operations.empty()) print_operations(result.operations);
  std::fflush(stdout);
}

int run_bench(const BenchOptions& options) {
  Options engine = options.engine;
  engine.max_batch = *std::ranges::max_element(options.batches);
  const Detector detector = options.has_random_weights ? Detector::with_random_weights(options.config, engine)
                                                       : Detector::load(options.model, engine);
  const ModelInfo& model = detector.info();
  const InputSize size = input_size(options.size, model);
  const bool prints_table = options.json != "-";
  if (prints_table) {
    const std::string device = detector.device_memory().name;
    fmt::print("{}: {} x {}, {}, {}\n", model.source, size.height, size.width,
               device.empty() ? to_string(model.device) : device, to_string(model.precision));
    fmt::print("{:>5} {:>10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9}\n", "batch", "median ms", "p10 ms", "p90 ms",
               "images/s", "GFLOP/s", "scratch M", "memory M");
  }
  Json results = Json::array();
  for (int batch : options.batches) {
    const BenchResult result = measure(detector, batch, size, options);
    if (prints_table) print_result(result);
    results.push_back(to_json(result, size, model));
  }
  if (!options.json.empty()) write_json(options.json, {{"model", model.source}, {"results", results}});
  return kAllWell;
}

}  // namespace

void add_bench_command(CLI::App& app, Run& run) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Time the bare model");
  CLI::Option* model = command->add_option("--model", options->model, "Model folder")->type_name("DIR");
  CLI::Option* config =
      command->add_option("--config", options->config, "A config.json, without weights")->type_name("FILE");
  CLI::Option* random = command->add_flag("--random-weights", options->has_random_weights, "Goes with --config");
  config->needs(random)->excludes(model);
  random->needs(config);
  command->add_option("--batch", options->batches, "Batch sizes, such as 1,8")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  add_size_option(*command, options->size);
  command
      ->add_option_function<std::string>(
          "--stages", [options](const std::string& text) { options->stages = parse_size("--stages", text); },
          "Time images of this size from pixels to boxes, stage by stage")
      ->type_name("HxW");
  command->add_flag("--profile", options->has_profile, "Time every operation of a pass on its own");
  command->add_option("--warmup", options->warmup, "Passes before the clock starts")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--seconds", options->seconds, "How long to measure each batch size")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--json", options->json, "Write the results as JSON; - is standard output")->type_name("FILE");
  add_model_options(*command, options->engine);
  add_device_options(*command, options->engine);
  command->footer(kExamples);
  command->callback([options, &run] {
    if (options->model.empty() && !options->has_random_weights) {
      throw CLI::RequiredError("--model or --config with --random-weights");
    }
    run = [options] { return run_bench(*options); };
  });
}

}  // namespace vistazo::apps
