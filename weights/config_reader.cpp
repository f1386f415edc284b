#include "weights/config_reader.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "kernels/base/error.h"
#include "weights/json_file.h"
#include "weights/printable.h"

namespace vistazo {
namespace {

constexpr std::size_t kLongestString = 4096;
constexpr std::size_t kLongestList = 100'000;
constexpr int kMostLabels = 100'000;

// A value of a config file and how to name it: "cells/config.json: backbone_config.out_indices[2]".
struct Place {
  const Json* value;  // null if absent
  std::string name;
};

[[noreturn]] void refuse_value(const Place& place, std::string_view wanted, Error::Code code = Error::Code::file) {
  if (!place.value) fail(code, "{} is missing; {} is wanted", place.name, wanted);
  std::string found;
  switch (place.value->type()) {
    case Json::value_t::string:
      found = in_quotes(place.value->get_ref<const std::string&>());
      break;
    case Json::value_t::array:
      found = fmt::format("a list of {}", place.value->size());
      break;
    case Json::value_t::object:
      found = "an object";
      break;
    default:
      found = place.value->dump();
  }
  fail(code, "{} is {}; {} is wanted", place.name, found, wanted);
}

int to_integer(const Place& place, int min, int max) {
  if (place.value && place.value->is_number_integer()) {
    const bool is_huge = place.value->is_number_unsigned() &&
                         place.value->get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()};
    const auto value = place.value->get<std::int64_t>();
    if (!is_huge && value >= min && value <= max) return static_cast<int>(value);
  }
  refuse_value(place, fmt::format("an integer from {} to {}", min, max));
}

double to_number(const Place& place, double min, double max) {
  if (place.value && place.value->is_number()) {
    const auto value = place.value->get<double>();
    if (value >= min && value <= max) return value;
  }
  refuse_value(place, fmt::format("a number from {} to {}", min, max));
}

bool to_boolean(const Place& place) {
  if (place.value && place.value->is_boolean()) return place.value->get<bool>();
  refuse_value(place, "true or false");
}

const std::string& to_string(const Place& place) {
  if (!place.value || !place.value->is_string()) refuse_value(place, "a text");
  const auto& text = place.value->get_ref<const std::string&>();
  if (text.size() > kLongestString) refuse_value(place, fmt::format("a text of at most {} bytes", kLongestString));
  return text;
}

// "17" -> 17; none for anything else, such as "017", "-1" or "1e1".
std::optional<int> to_id(const std::string& key) {
  int id = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error != std::errc() || key != std::to_string(id) || id < 0 || id >= kMostLabels) return std::nullopt;
  return id;
}

}  // namespace

ConfigReader::ConfigReader(Json document, const std::string& source)
    : document_(std::make_shared<const Json>(std::move(document))), object_(document_.get()), source_(source) {
  if (!object_->is_object()) fail(Error::Code::file, "{}: is not a JSON object", source_);
}

const Json* ConfigReader::find(std::string_view key) const {
  const auto place = object_->find(key);
  return place == object_->end() || place->is_null() ? nullptr : &*place;
}

std::string ConfigReader::path_of(std::string_view key) const {
  return prefix_ + std::string(key);
}

void ConfigReader::refuse(std::string_view key, std::string_view wanted) const {
  refuse_value({find(key), source_ + ": " + path_of(key)}, wanted);
}

bool ConfigReader::has(std::string_view key) const {
  return find(key) != nullptr;
}

bool ConfigReader::is_list(std::string_view key) const {
  const Json* value = find(key);
  return value && value->is_array();
}

bool ConfigReader::is_object(std::string_view key) const {
  const Json* value = find(key);
  return value && value->is_object();
}

int ConfigReader::integer(std::string_view key, int min, int max) const {
  return to_integer({find(key), source_ + ": " + path_of(key)}, min, max);
}

int ConfigReader::integer(std::string_view key, int min, int max, int fallback) const {
  return has(key) ? integer(key, min, max) : fallback;
}

double ConfigReader::number(std::string_view key, double min, double max) const {
  return to_number({find(key), source_ + ": " + path_of(key)}, min, max);
}

double ConfigReader::number(std::string_view key, double min, double max, double fallback) const {
  return has(key) ? number(key, min, max) : fallback;
}

bool ConfigReader::boolean(std::string_view key) const {
  return to_boolean({find(key), source_ + ": " + path_of(key)});
}

bool ConfigReader::boolean(std::string_view key, bool fallback) const {
  return has(key) ? boolean(key) : fallback;
}

std::string ConfigReader::string(std::string_view key) const {
  return to_string({find(key), source_ + ": " + path_of(key)});
}

std::string ConfigReader::string(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : std::string(fallback);
}

std::string ConfigReader::one_of(std::string_view key, std::initializer_list<std::string_view> words) const {
  const Place place{find(key), source_ + ": " + path_of(key)};
  const std::string wanted = fmt::format("\"{}\"", fmt::join(words, "\" or \""));
  if (!place.value || !place.value->is_string()) refuse_value(place, wanted);
  const auto& word = place.value->get_ref<const std::string&>();
  if (std::find(words.begin(), words.end(), word) == words.end()) {
    refuse_value(place, wanted, Error::Code::unsupported);
  }
  return word;
}

std::string ConfigReader::one_of(std::string_view key, std::initializer_list<std::string_view> words,
                                 std::string_view fallback) const {
  return has(key) ? one_of(key, words) : std::string(fallback);
}

const Json& ConfigReader::list(std::string_view key) const {
  const Json* value = find(key);
  if (!value || !value->is_array() || value->size() > kLongestList) {
    refuse(key, fmt::format("a list of at most {}", kLongestList));
  }
  return *value;
}

template <typename Item, typename Read>
std::vector<Item> ConfigReader::read_list(std::string_view key, Read read) const {
  const Json& items = list(key);
  std::vector<Item> result;
  result.reserve(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    result.push_back(read(Place{&items[i], fmt::format("{}: {}[{}]", source_, path_of(key), i)}));
  }
  return result;
}

std::vector<int> ConfigReader::integers(std::string_view key, int min, int max) const {
  return read_list<int>(key, [=](const Place& place) { return to_integer(place, min, max); });
}

std::vector<int> ConfigReader::integers(std::string_view key, int min, int max, std::vector<int> fallback) const {
  return has(key) ? integers(key, min, max) : std::move(fallback);
}

std::vector<double> ConfigReader::numbers(std::string_view key, double min, double max) const {
  return read_list<double>(key, [=](const Place& place) { return to_number(place, min, max); });
}

std::vector<double> ConfigReader::numbers(std::string_view key, double min, double max,
                                          std::vector<double> fallback) const {
  return has(key) ? numbers(key, min, max) : std::move(fallback);
}

std::vector<bool> ConfigReader::booleans(std::string_view key) const {
  return read_list<bool>(key, to_boolean);
}

std::vector<bool> ConfigReader::booleans(std::string_view key, std::vector<bool> fallback) const {
  return has(key) ? booleans(key) : std::move(fallback);
}

std::vector<std::string> ConfigReader::strings(std::string_view key) const {
  return read_list<std::string>(key, to_string);
}

std::vector<std::string> ConfigReader::strings(std::string_view key, std::vector<std::string> fallback) const {
  return has(key) ? strings(key) : std::move(fallback);
}

std::vector<std::string> ConfigReader::labels(std::string_view key) const {
  if (!has(key)) return {};
  const ConfigReader entries = child(key);
  int count = 0;
  for (const auto& [id_text, name] : entries.object_->items()) {
    const std::optional<int> id = to_id(id_text);
    if (!id) {
      fail(Error::Code::file, "{}: {} has the key {}; class ids from 0 to {} are wanted", source_, path_of(key),
           in_quotes(id_text), kMostLabels - 1);
    }
    count = std::max(count, *id + 1);
  }
  std::vector<std::string> names;
  names.reserve(static_cast<std::size_t>(count));
  for (int id = 0; id < count; ++id) {
    names.push_back(entries.string(std::to_string(id), fmt::format("class {}", id)));
  }
  return names;
}

ConfigReader ConfigReader::child(std::string_view key) const {
  const Json* value = find(key);
  if (!value || !value->is_object()) refuse(key, "an object");
  ConfigReader reader;
  reader.document_ = document_;
  reader.object_ = value;
  reader.source_ = source_;
  reader.prefix_ = path_of(key) + ".";
  return reader;
}

ConfigReader read_config(const std::filesystem::path& path) {
  return {read_json(path), path.string()};
}

}  // namespace vistazo
