#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/config_reader.h"

namespace vistazo {

// A published size of a family, as config.json and preprocessor_config.json would describe it.
struct Description {
  std::string architecture;  // "rf-detr-nano"
  ConfigReader config, preprocessor;
};

// What make_model and read_preprocessing need, wherever it came from.
struct ModelSource {
  std::unique_ptr<Checkpoint> checkpoint;
  ConfigReader config;
  std::optional<ConfigReader> preprocessor;  // none: as the family's authors do
  std::string architecture;                  // empty if config.json says what the model is
};

// path: a folder with config.json and weights, or weights alone (a folder or a file that open_checkpoint takes). A
// config.json beside the weights describes them, unless `architecture` names a published size; where there is neither,
// names and shapes of the tensors decide.
// Throws Error{file} for what is missing or malformed, and what describe_checkpoint throws.
ModelSource open_model(const std::filesystem::path& path, std::string_view architecture);

// Finds the published size that a checkpoint without config.json is; models/registry.cpp knows the families.
// architecture: a size's name, or empty: names and shapes of the tensors decide.
// Throws Error{argument} for an unknown name, listing the known ones; Error{weights} for a checkpoint of no known
// family, of a size that nobody published, or that may be several.
Description describe_checkpoint(const Checkpoint& checkpoint, std::string_view architecture);

// What Hugging Face calls a tensor of the original files of the family that config.json calls `model_type`: several
// names where it is to be cut into equal parts along its first dimension, none where it is left out; nothing for a
// tensor, or a family, that is not known by such names. models/registry.cpp knows the families.
std::optional<std::vector<std::string>> huggingface_names(std::string_view model_type, const Checkpoint& checkpoint,
                                                          std::string_view name);

}  // namespace vistazo
