#include "engine/model_source.h"

#include "kernels/base/error.h"

namespace vistazo {
namespace {

namespace fs = std::filesystem;

std::optional<ConfigReader> read_if_there(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  return read_config(path);
}

std::unique_ptr<Checkpoint> open_weights_alone(const fs::path& path) {
  try {
    return open_checkpoint(path);
  } catch (const Error& error) {
    if (std::error_code ignored; error.code != Error::Code::file || !fs::is_directory(path, ignored)) throw;
    fail(Error::Code::file, "{}; nor has it a config.json: a model's folder has both", error.what());
  }
}

}  // namespace

ModelSource open_model(const fs::path& path, std::string_view architecture) {
  std::error_code error;
  if (!fs::exists(path, error)) fail(Error::Code::file, "{}: there is no such model", path.string());
  const fs::path folder = fs::is_directory(path, error) ? path : path.parent_path();
  if (architecture.empty()) {
    if (std::optional<ConfigReader> config = read_if_there(folder / "config.json")) {
      return {open_checkpoint(path), *std::move(config), read_if_there(folder / "preprocessor_config.json"), ""};
    }
  }
  std::unique_ptr<Checkpoint> checkpoint = open_weights_alone(path);
  Description found = describe_checkpoint(*checkpoint, architecture);
  return {std::move(checkpoint), std::move(found.config), std::move(found.preprocessor), std::move(found.architecture)};
}

}  // namespace vistazo
