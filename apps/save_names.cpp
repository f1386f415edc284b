#include "apps/save_names.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <algorithm>
#include <cctype>
#include <system_error>

namespace vistazo::apps {
namespace fs = std::filesystem;
namespace {

std::string lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

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
    if (!error && parent == own) taken_.insert(lower_case(input.path.filename().string()));
  }
}

fs::path SaveNames::next(const fs::path& input, bool is_lossless) {
  const std::string stem = input.stem().string(), extension = is_lossless ? ".png" : ".jpg";
  std::string name = stem + extension;
  for (int i = 2; !taken_.insert(lower_case(name)).second; ++i) name = fmt::format("{}_{}{}", stem, i, extension);
  return folder_ / name;
}

}  // namespace vistazo::apps
