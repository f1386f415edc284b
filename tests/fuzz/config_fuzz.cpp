#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/preprocess.h"
#include "kernels/base/error.h"
#include "models/rf_detr_config.h"
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

// What Detector::load reads from the two files of a model folder.
void read_as_model(const ConfigReader& config) {
  attempt([&] {
    const RfDetrConfig c = read_rf_detr_config(config);
    require(c.vit.dim % c.vit.heads == 0 && c.decoder.dim % c.decoder.self_heads == 0);
    require(!c.stages.empty() && c.stages.back() <= c.vit.layers && !c.class_names.empty());
  });
  attempt([&] {
    const Preprocessing p = read_preprocessing(config, ModelTraits{});
    const Placement placement = place(p, {123, 457}, 32);
    require(placement.top + placement.image.height <= placement.canvas.height);
    require(placement.left + placement.image.width <= placement.canvas.width);
  });
}

}  // namespace
}  // namespace vistazo

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::optional<vistazo::ConfigReader> config;
  vistazo::attempt([&] {
    config.emplace(vistazo::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz"), "fuzz");
  });
  if (config) vistazo::read_as_model(*config);
  return 0;
}
