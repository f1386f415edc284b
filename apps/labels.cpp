#include <fmt/core.h>
#include <vistazo/error.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "apps/options.h"

namespace vistazo::apps {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostBytes = std::size_t{16} << 20;
constexpr std::size_t kMostLabels = 100'000;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& problem) {
  throw Error(Error::Code::file,
              fmt::format("{}: {}; one name a line, a JSON list of names or an id2label object is wanted",
                          path.string(), problem));
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(Error::Code::file, fmt::format("{}: cannot be opened", path.string()));
  std::string text(kMostBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMostBytes) refuse(path, "is larger than 16 MiB");
  return text;
}

void trim(std::string& line) {
  constexpr std::string_view kBlanks = " \t\r";
  line.erase(0, line.find_first_not_of(kBlanks));
  line.erase(line.find_last_not_of(kBlanks) + 1);
}

// An empty line in the middle names no class, but it counts; those at the end do not.
std::vector<std::string> from_lines(std::string_view text) {
  std::vector<std::string> labels;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    labels.emplace_back(text.substr(0, end));
    trim(labels.back());
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  while (!labels.empty() && labels.back().empty()) labels.pop_back();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i].empty()) labels[i] = fmt::format("class {}", i);
  }
  return labels;
}

std::vector<std::string> from_list(const std::filesystem::path& path, const Json& list) {
  std::vector<std::string> labels;
  for (const Json& item : list) {
    if (!item.is_string()) refuse(path, "the list holds something else than texts");
    labels.push_back(item.get<std::string>());
  }
  return labels;
}

// Ids that are left out below the largest get names such as "class 12".
std::vector<std::string> from_ids(const std::filesystem::path& path, const Json& object) {
  std::vector<std::string> labels;
  for (const auto& [key, value] : object.items()) {
    std::size_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id >= kMostLabels || !value.is_string()) {
      refuse(path, fmt::format("\"{}\" is no id with its name", key));
    }
    while (labels.size() <= id) labels.push_back(fmt::format("class {}", labels.size()));
    labels[id] = value.get<std::string>();
  }
  return labels;
}

}  // namespace

std::vector<std::string> read_labels(const std::filesystem::path& path) {
  const std::string text = read_text(path);
  std::vector<std::string> labels;
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && (text[first] == '{' || text[first] == '[')) {
    const Json json = Json::parse(text, nullptr, false);
    if (json.is_discarded()) refuse(path, "is not valid JSON");
    const bool has_labels = json.is_object() && json.contains("id2label") && json["id2label"].is_object();
    labels = json.is_array() ? from_list(path, json) : from_ids(path, has_labels ? json["id2label"] : json);
  } else {
    labels = from_lines(text);
  }
  if (labels.empty()) refuse(path, "has no names");
  return labels;
}

}  // namespace vistazo::apps
