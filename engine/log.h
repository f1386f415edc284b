#pragma once

#include <spdlog/logger.h>

#include <memory>

namespace vistazo {

// The spdlog logger named "vistazo", if the program has registered one; otherwise one that writes nowhere. The library
// prints nothing by itself. Never null.
std::shared_ptr<spdlog::logger> log();

}  // namespace vistazo
