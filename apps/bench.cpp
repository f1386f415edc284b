#include <fmt/core.h>
#include <vistazo/detector.h>

#include <algorithm>
#include <chrono>
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

Times whole forward passes on random pixels, without reading and resizing images.
)";

struct BenchOptions {
  std::string model, config, json;
  bool has_random_weights = false;
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

std::vector<float> random_pixels(int batch, const InputSize& size) {
  std::mt19937 generator(0);
  std::normal_distribution<float> normal;
  std::vector<float> pixels(std::size_t{3} * static_cast<std::size_t>(batch) * static_cast<std::size_t>(size.height) *
                            static_cast<std::size_t>(size.width));
  for (float& pixel : pixels) pixel = normal(generator);
  return pixels;
}

BenchResult measure(const Detector& detector, int batch, const InputSize& size, const BenchOptions& options) {
  using Clock = std::chrono::steady_clock;
  const std::vector<float> pixels = random_pixels(batch, size);
  for (int i = 0; i < options.warmup; ++i) (void)detector.forward(pixels, batch, size.height, size.width);
  std::vector<double> milliseconds;
  const auto end = Clock::now() + std::chrono::duration<double>(options.seconds);
  do {
    const auto start = Clock::now();
    (void)detector.forward(pixels, batch, size.height, size.width);
    milliseconds.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  } while (Clock::now() < end);
  std::ranges::sort(milliseconds);
  return {batch,
          quantile(milliseconds, 0.5),
          quantile(milliseconds, 0.1),
          quantile(milliseconds, 0.9),
          milliseconds.size(),
          detector.cost(batch, size.height, size.width),
          process_memory()};
}

Json to_json(const BenchResult& result, const InputSize& size, const ModelInfo& model) {
  return {{"device", to_string(model.device)},
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
}

void print_result(const BenchResult& result) {
  fmt::print("{:>5} {:>10.2f} {:>10.2f} {:>10.2f} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.1f}\n", result.batch,
             result.median_ms, result.p10_ms, result.p90_ms, result.images_per_second(), result.gflops(),
             static_cast<double>(result.cost.peak_scratch_bytes) / (1 << 20),
             static_cast<double>(result.memory.resident_bytes) / (1 << 20));
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
    fmt::print("{}: {} x {}, {}, {}\n", model.source, size.height, size.width, to_string(model.device),
               to_string(model.precision));
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
