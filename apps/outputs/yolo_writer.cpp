#include <fmt/core.h>
#include <vistazo/error.h>

#include <optional>

#include "apps/outputs/object_writer.h"
#include "apps/outputs/partial_file.h"

namespace vistazo::apps {
namespace {

class YoloWriter final : public ObjectWriter {
 public:
  YoloWriter(const std::filesystem::path& folder, const std::vector<std::string>& class_names) : folder_(folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    PartialFile names(folder / "classes.txt");
    for (const std::string& name : class_names) names.write(name + "\n");
    names.commit();
    // An image may be called classes too.
    names_.next("classes");
  }

  void add(const Finding& finding) override {
    if (!file_) file_.emplace(folder_ / (names_.next(finding.name) + ".txt"));
    std::string lines;
    for (const Detection& object : finding.objects) {
      const double width = finding.width, height = finding.height;
      const Box& b = object.box;
      lines += fmt::format("{} {:.7f} {:.7f} {:.7f} {:.7f}\n", object.class_id, (b.x0 + b.x1) / 2 / width,
                           (b.y0 + b.y1) / 2 / height, (b.x1 - b.x0) / width, (b.y1 - b.y0) / height);
    }
    file_->write(lines);
    if (!finding.is_last_part) return;
    file_->commit();
    file_.reset();
  }

  void finish() override {}

 private:
  std::filesystem::path folder_;
  UniqueNames names_;
  std::optional<PartialFile> file_;  // of an image whose parts are not all there
};

}  // namespace

std::unique_ptr<ObjectWriter> make_yolo_writer(const std::filesystem::path& folder,
                                               const std::vector<std::string>& class_names) {
  return std::make_unique<YoloWriter>(folder, class_names);
}

}  // namespace vistazo::apps
