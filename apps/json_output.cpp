#include "apps/json_output.h"

#include <cmath>

namespace vistazo::apps {

double rounded(double value, int decimals) {
  const double scale = std::pow(10.0, decimals);
  const double result = std::round(value * scale) / scale;
  return result == 0.0 ? 0.0 : result;  // no "-0.0"
}

std::string to_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json to_json(const Detection& detection, std::span<const std::string> class_names) {
  constexpr int kBoxDecimals = 2, kScoreDecimals = 5;
  const Box& box = detection.box;
  Json json;
  json["box"] = {rounded(box.x0, kBoxDecimals), rounded(box.y0, kBoxDecimals), rounded(box.x1, kBoxDecimals),
                 rounded(box.y1, kBoxDecimals)};
  json["score"] = rounded(detection.score, kScoreDecimals);
  json["class_id"] = detection.class_id;
  const bool is_named = detection.class_id >= 0 && static_cast<std::size_t>(detection.class_id) < class_names.size();
  json["label"] = is_named ? class_names[static_cast<std::size_t>(detection.class_id)] : "";
  return json;
}

void write_json(const std::filesystem::path& path, const Json& json) {
  OutputFile file(path);
  file.write(to_text(json, 2) + "\n");
  file.commit();
}

DetectionsJson::DetectionsJson(const std::filesystem::path& path, const std::string& model) : file_(path) {
  file_.write("{\"model\":" + to_text(model) + ",\"images\":[");
}

void DetectionsJson::add(const std::string& path, int width, int height, const Detections& detections,
                         std::span<const std::string> class_names) {
  Json list = Json::array();
  for (const Detection& detection : detections) list.push_back(to_json(detection, class_names));
  add({{"path", path}, {"width", width}, {"height", height}, {"detections", std::move(list)}});
}

void DetectionsJson::add_failure(const std::string& path, const std::string& error) {
  add({{"path", path}, {"error", error}});
}

void DetectionsJson::add(const Json& image) {
  file_.write((is_first_ ? "\n" : ",\n") + to_text(image));
  is_first_ = false;
}

void DetectionsJson::finish() {
  file_.write("\n]}\n");
  file_.commit();
}

}  // namespace vistazo::apps
