#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "weights/config_reader.h"
#include "weights/json_file.h"

// Bytes -> config.json -> everything that is read from one. An Error is a fine answer; a crash or a leak is not.
namespace vistazo {
namespace {

void require(bool condition) {
  if (!condition) __builtin_trap();
}

// One value may be refused without hiding the next one from the fuzzer.
void attempt(const std::function<void()>& read) {
  try {
    read();
  } catch (const Error& error) {
    require(error.code == Error::Code::file || error.code == Error::Code::unsupported);
  }
}

void read_typical_keys(const ConfigReader& config, int depth) {
  attempt([&] {
    const int value = config.integer("hidden_size", 1, 4096);
    require(value >= 1 && value <= 4096);
  });
  attempt([&] {
    const double value = config.number("layer_norm_eps", 0.0, 1.0, 1e-6);
    require(value >= 0.0 && value <= 1.0);
  });
  attempt([&] { config.boolean("use_swiglu_ffn", false); });
  attempt([&] { require(config.string("model_type").size() <= 4096); });
  attempt([&] { config.one_of("hidden_act", {"gelu", "relu", "silu"}, "gelu"); });
  attempt([&] {
    for (const int value : config.integers("out_indices", -16, 64)) require(value >= -16 && value <= 64);
  });
  attempt([&] { config.numbers("image_mean", 0.0, 1.0, {0.0, 0.0, 0.0}); });
  attempt([&] { config.strings("stage_names", {}); });
  attempt([&] { require(config.labels("id2label").size() <= 100'000); });
  attempt([&] { config.refuse("size", "something else"); });
  if (depth < 4) attempt([&] { read_typical_keys(config.child("backbone_config"), depth + 1); });
}

}  // namespace
}  // namespace vistazo

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::optional<vistazo::ConfigReader> config;
  vistazo::attempt([&] {
    config.emplace(vistazo::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz"), "fuzz");
  });
  if (config) vistazo::read_typical_keys(*config, 0);
  return 0;
}
