#include <fmt/core.h>
#include <vistazo/error.h>

#include <algorithm>
#include <cmath>
#include <system_error>

#include "apps/outputs/object_writer.h"

namespace vistazo::apps {
namespace {

namespace fs = std::filesystem;

// A label as the name of a folder: what file systems or shells take amiss becomes "_".
std::string folder_name(const std::string& label) {
  std::string name = label;
  std::ranges::replace_if(
      name, [](unsigned char c) { return c < ' ' || c == '/' || c == '\\' || c == ':'; }, '_');
  return name.empty() || name.front() == '.' ? "_" + name : name;
}

// The pixels that a box touches.
Rect pixels_of(const Box& box, int width, int height) {
  const auto low = [](float v, int size) { return std::clamp(static_cast<int>(std::floor(v)), 0, size - 1); };
  Rect rect{low(box.x0, width), low(box.y0, height), 0, 0};
  rect.right = std::clamp(static_cast<int>(std::ceil(box.x1)), rect.left + 1, width);
  rect.bottom = std::clamp(static_cast<int>(std::ceil(box.y1)), rect.top + 1, height);
  return rect;
}

class CropWriter final : public ObjectWriter {
 public:
  CropWriter(const fs::path& folder, std::vector<std::string> class_names, bool lossless)
      : folder_(folder), class_names_(std::move(class_names)), extension_(lossless ? ".png" : ".jpg") {
    make_folder(folder);
  }

  void add(const Finding& finding) override {
    if (finding.name != name_) {
      name_ = finding.name;
      count_ = 0;
    }
    for (const Detection& object : finding.objects) {
      const fs::path folder = folder_ / folder_name(class_name(object.class_id, class_names_));
      make_folder(folder);
      const fs::path path = folder / fmt::format("{}_{}{}", finding.name, ++count_, extension_);
      write_picture(path, finding.pixels(pixels_of(object.box, finding.width, finding.height)));
    }
  }

  void finish() override {}

 private:
  static void make_folder(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (fs::is_directory(folder)) return;
    throw Error(Error::Code::file,
                fmt::format("{}: the folder cannot be created: {}", folder.string(), error.message()));
  }

  fs::path folder_;
  std::vector<std::string> class_names_;
  std::string extension_, name_;
  int count_ = 0;  // of the crops of this image
};

}  // namespace

std::unique_ptr<ObjectWriter> make_crop_writer(const fs::path& folder, std::vector<std::string> class_names,
                                               bool lossless) {
  return std::make_unique<CropWriter>(folder, std::move(class_names), lossless);
}

}  // namespace vistazo::apps
