#include "apps/save_names.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <system_error>

namespace vistazo::apps {
namespace fs = std::filesystem;

SaveNames::SaveNames(const fs::path& folder, const std::vector<Input>& inputs) : folder_(folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!fs::is_directory(folder)) {
    throw Error(Error::Code::file,
                fmt::format("{}: the folder cannot be created: {}", folder.string(), error.message()));
  }
  const fs::path own = fs::canonical(folder, error);
  for (const Input& input : inputs) {
    if (!input.error.empty()) continue;
    const fs::path parent = fs::canonical(input.path.has_parent_path() ? input.path.parent_path() : ".", error);
    if (!error && parent == own) names_.next(input.path.filename().string());
  }
}

fs::path SaveNames::next(const fs::path& input, bool is_lossless) {
  return folder_ / names_.next(input.stem().string(), is_lossless ? ".png" : ".jpg");
}

}  // namespace vistazo::apps
