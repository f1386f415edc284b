#include "apps/coco_file.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace vistazo::apps {
namespace {

using Json = nlohmann::json;

template <typename Read>
auto read_json(const std::filesystem::path& path, const Read& read) {
  std::ifstream stream(path);
  if (!stream) throw Error(Error::Code::file, fmt::format("{}: cannot be opened", path.string()));
  try {
    return read(Json::parse(stream));
  } catch (const Json::exception& e) {
    throw Error(Error::Code::file, fmt::format("{}: not in the COCO format: {}", path.string(), e.what()));
  }
}

CocoBox box_of(const Json& object) {
  const Json& box = object.at("bbox");
  return {box.at(0).get<double>(), box.at(1).get<double>(), box.at(2).get<double>(), box.at(3).get<double>()};
}

CocoTruth truth_of(const Json& annotation) {
  CocoTruth truth;
  truth.image_id = annotation.at("image_id").get<std::int64_t>();
  truth.category_id = annotation.at("category_id").get<std::int64_t>();
  truth.box = box_of(annotation);
  truth.area = annotation.value("area", truth.box.width * truth.box.height);
  const auto crowd = annotation.find("iscrowd");
  if (crowd != annotation.end()) truth.is_crowd = crowd->is_boolean() ? crowd->get<bool>() : crowd->get<int>() != 0;
  return truth;
}

}  // namespace

CocoFile read_coco_file(const std::filesystem::path& path) {
  return read_json(path, [](const Json& json) {
    CocoFile file;
    for (const Json& image : json.at("images")) {
      file.images.push_back({image.at("id").get<std::int64_t>(), image.at("file_name").get<std::string>()});
    }
    for (const Json& category : json.at("categories")) {
      file.categories.push_back({category.at("id").get<std::int64_t>(), category.at("name").get<std::string>()});
    }
    for (const Json& annotation : json.at("annotations")) file.truths.push_back(truth_of(annotation));
    return file;
  });
}

std::vector<CocoDetection> read_coco_detections(const std::filesystem::path& path) {
  return read_json(path, [](const Json& json) {
    std::vector<CocoDetection> detections;
    for (const Json& object : json) {
      detections.push_back({object.at("image_id").get<std::int64_t>(), object.at("category_id").get<std::int64_t>(),
                            box_of(object), object.at("score").get<double>()});
    }
    return detections;
  });
}

}  // namespace vistazo::apps
