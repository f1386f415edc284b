#pragma once

#include <vistazo/detector.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "apps/output_file.h"

namespace vistazo::apps {

using Json = nlohmann::ordered_json;

// To so many decimals; JSON then holds the shortest text for it.
double rounded(double value, int decimals);

// Bytes that are not UTF-8, in a file name, become U+FFFD.
std::string to_text(const Json& json, int indent = -1);

Json to_json(const Detection& detection, std::span<const std::string> class_names);

// Writes one value, indented, to a file or with "-" to standard output. Throws Error{file}.
void write_json(const std::filesystem::path& path, const Json& json);

// The answer of `vistazo detect`: {"model": .., "images": [ one line per image ]}, written as the images come.
class DetectionsJson {
 public:
  DetectionsJson(const std::filesystem::path& path, const std::string& model);

  void add(const std::string& path, int width, int height, const Detections& detections,
           std::span<const std::string> class_names);
  void add_failure(const std::string& path, const std::string& error);
  void finish();

 private:
  void add(const Json& image);

  OutputFile file_;
  bool is_first_ = true;
};

}  // namespace vistazo::apps
