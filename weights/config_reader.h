#pragma once

#include <filesystem>
#include <initializer_list>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace vistazo {

// Typed access to an object of a model's config.json. A value of another type or out of its range throws Error{file},
// a word that is not among the known ones Error{unsupported}:
//   cells/config.json: backbone_config.patch_size is "x"; an integer from 1 to 64 is wanted
// A key that is null counts as absent. Without a fallback, an absent key is an error. Keys that nobody asks for are
// ignored: such files hold many that only training uses. Copies share the document.
class ConfigReader {
 public:
  // `document` must be an object. `source` is the file's path, for messages.
  ConfigReader(nlohmann::json document, const std::string& source);

  bool has(std::string_view key) const;
  bool is_list(std::string_view key) const;    // false if absent
  bool is_object(std::string_view key) const;  // false if absent

  // Bounds are inclusive.
  int integer(std::string_view key, int min, int max) const;
  int integer(std::string_view key, int min, int max, int fallback) const;
  double number(std::string_view key, double min, double max) const;
  double number(std::string_view key, double min, double max, double fallback) const;
  bool boolean(std::string_view key) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::string string(std::string_view key) const;  // of at most 4096 bytes
  std::string string(std::string_view key, std::string_view fallback) const;
  std::string one_of(std::string_view key, std::initializer_list<std::string_view> words) const;
  std::string one_of(std::string_view key, std::initializer_list<std::string_view> words,
                     std::string_view fallback) const;

  // Lists of at most 100,000 items.
  std::vector<int> integers(std::string_view key, int min, int max) const;
  std::vector<int> integers(std::string_view key, int min, int max, std::vector<int> fallback) const;
  std::vector<double> numbers(std::string_view key, double min, double max) const;
  std::vector<double> numbers(std::string_view key, double min, double max, std::vector<double> fallback) const;
  std::vector<bool> booleans(std::string_view key) const;
  std::vector<bool> booleans(std::string_view key, std::vector<bool> fallback) const;
  std::vector<std::string> strings(std::string_view key) const;
  std::vector<std::string> strings(std::string_view key, std::vector<std::string> fallback) const;

  // {"0": "nucleus", "2": "platelet"}: the names by id, "class 1" where an id below the largest is missing. Empty if
  // the key is absent. Ids are below 100,000.
  std::vector<std::string> labels(std::string_view key) const;

  // The object under `key`.
  ConfigReader child(std::string_view key) const;

  // For checks that the functions above cannot make: throws Error{file} like
  //   cells/config.json: backbone_config.hidden_size is 192; a multiple of num_attention_heads is wanted
  [[noreturn]] void refuse(std::string_view key, std::string_view wanted) const;

  const nlohmann::json& document() const { return *document_; }  // the whole file, also of a child
  const std::string& source() const { return source_; }
  std::string path_of(std::string_view key) const;  // "backbone_config.patch_size"

 private:
  ConfigReader() = default;
  const nlohmann::json* find(std::string_view key) const;  // null if absent
  const nlohmann::json& list(std::string_view key) const;
  template <typename Item, typename Read>
  std::vector<Item> read_list(std::string_view key, Read read) const;

  std::shared_ptr<const nlohmann::json> document_;
  const nlohmann::json* object_ = nullptr;  // within document_
  std::string source_;
  std::string prefix_;  // "backbone_config."
};

// read_json and a ConfigReader for it.
ConfigReader read_config(const std::filesystem::path& path);

}  // namespace vistazo
