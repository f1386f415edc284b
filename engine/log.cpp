#include "engine/log.h"

#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>

namespace vistazo {

std::shared_ptr<spdlog::logger> log() {
  if (std::shared_ptr<spdlog::logger> registered = spdlog::get("vistazo")) return registered;
  static const auto silent = std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::null_sink_mt>());
  return silent;
}

}  // namespace vistazo
