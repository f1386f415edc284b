#include <doctest/doctest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <vistazo/detector.h>

#include <filesystem>
#include <sstream>

namespace vistazo {
namespace {

TEST_CASE("a program that registers the logger hears the library, and only then") {
  const auto config = std::filesystem::path(VISTAZO_TEST_DATA) / "models/w2_original/config.json";
  Options options;
  options.device = Device::cpu;
  options.precision = Precision::f32;
  std::ostringstream heard;
  spdlog::register_logger(
      std::make_shared<spdlog::logger>("vistazo", std::make_shared<spdlog::sinks::ostream_sink_mt>(heard)));
  Detector::with_random_weights(config, options);
  CHECK(heard.str().find("rf_detr with random tensor names") != std::string::npos);
  spdlog::drop("vistazo");
  heard.str("");
  Detector::with_random_weights(config, options);
  CHECK(heard.str().empty());
}

}  // namespace
}  // namespace vistazo
