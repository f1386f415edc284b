#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace vistazo {

using Json = nlohmann::json;

// What a JSON file may ask for. With the defaults, parsing stays below 256 MB whatever the file holds.
struct JsonLimits {
  std::size_t bytes = std::size_t{16} << 20;
  std::size_t depth = 64;          // of objects and lists
  std::size_t values = 1'000'000;  // of all kinds, at all depths
};

// Throws Error{file} with `source`, line and column for anything that is not one valid JSON value in UTF-8 within the
// limits. A key that appears twice in an object is an error too: readers differ in which of the two they take.
Json parse_json(std::string_view text, const std::string& source, const JsonLimits& limits = {});

// The same for a file; `source` is then its path.
Json read_json(const std::filesystem::path& path, const JsonLimits& limits = {});

}  // namespace vistazo
