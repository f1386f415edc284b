#pragma once

#include <span>

#include "models/families.h"

namespace vistazo {

struct Family {
  std::string_view model_type;  // as config.json calls it
  std::unique_ptr<Model> (*make)(const ConfigReader&, WeightReader&);
  const OriginalFiles* original = nullptr;  // null: its checkpoints come with a config.json
};

std::span<const Family> families();

}  // namespace vistazo
