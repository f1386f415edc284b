#include "apps/colours.h"
#include "apps/json_output.h"
#include "apps/outputs/object_writer.h"
#include "apps/outputs/partial_file.h"

namespace vistazo::apps {
namespace {

// A FeatureCollection (RFC 7946 but for the coordinates, which are pixels) with the properties that QuPath gives to and
// reads from its objects: objectType, classification, measurements.
class GeoJsonWriter final : public ObjectWriter {
 public:
  GeoJsonWriter(const std::filesystem::path& path, std::vector<std::string> class_names, double origin_x,
                double origin_y)
      : file_(path), class_names_(std::move(class_names)), origin_x_(origin_x), origin_y_(origin_y) {
    file_.write("{\"type\":\"FeatureCollection\",\"features\":[");
  }

  void add(const Finding& finding) override {
    std::string lines;
    for (const Detection& object : finding.objects) {
      lines += (is_first_ ? "\n" : ",\n") + to_text(feature(object));
      is_first_ = false;
    }
    file_.write(lines);
  }

  void finish() override {
    file_.write("\n]}\n");
    file_.commit();
  }

 private:
  Json feature(const Detection& object) const {
    const double x0 = rounded(object.box.x0 - origin_x_, 2), y0 = rounded(object.box.y0 - origin_y_, 2);
    const double x1 = rounded(object.box.x1 - origin_x_, 2), y1 = rounded(object.box.y1 - origin_y_, 2);
    const Colour colour = class_colour(object.class_id);
    // Counter-clockwise with y upwards, clockwise on the screen; the last corner is the first one again.
    const Json ring = Json::array({{x0, y0}, {x1, y0}, {x1, y1}, {x0, y1}, {x0, y0}});
    return {{"type", "Feature"},
            {"geometry", {{"type", "Polygon"}, {"coordinates", Json::array({ring})}}},
            {"properties",
             {{"objectType", "detection"},
              {"classification",
               {{"name", class_name(object.class_id, class_names_)}, {"color", {colour[0], colour[1], colour[2]}}}},
              {"measurements", {{"score", rounded(object.score, 5)}}}}}};
  }

  PartialFile file_;
  std::vector<std::string> class_names_;
  double origin_x_, origin_y_;
  bool is_first_ = true;
};

}  // namespace

std::unique_ptr<ObjectWriter> make_geojson_writer(const std::filesystem::path& path,
                                                  std::vector<std::string> class_names, double origin_x,
                                                  double origin_y) {
  return std::make_unique<GeoJsonWriter>(path, std::move(class_names), origin_x, origin_y);
}

}  // namespace vistazo::apps
