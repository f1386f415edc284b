#include "apps/json_output.h"
#include "apps/outputs/object_writer.h"
#include "apps/outputs/partial_file.h"

namespace vistazo::apps {
namespace {

class CocoWriter final : public ObjectWriter {
 public:
  CocoWriter(const std::filesystem::path& path, std::vector<std::int64_t> category_of_class)
      : file_(path), category_of_class_(std::move(category_of_class)) {
    file_.write("[");
  }

  void add(const Finding& finding) override {
    std::string lines;
    for (const Detection& object : finding.objects) {
      const std::int64_t category = category_of(object.class_id);
      if (category < 0) continue;
      const Box& b = object.box;
      const Json line = {
          {"image_id", finding.image_id},
          {"category_id", category},
          {"bbox", {rounded(b.x0, 2), rounded(b.y0, 2), rounded(b.x1 - b.x0, 2), rounded(b.y1 - b.y0, 2)}},
          {"score", rounded(object.score, 5)}};
      lines += (is_first_ ? "\n" : ",\n") + to_text(line);
      is_first_ = false;
    }
    file_.write(lines);
  }

  void finish() override {
    file_.write("\n]\n");
    file_.commit();
  }

 private:
  std::int64_t category_of(int class_id) const {
    if (category_of_class_.empty()) return class_id;
    const auto index = static_cast<std::size_t>(class_id);
    return index < category_of_class_.size() ? category_of_class_[index] : -1;
  }

  PartialFile file_;
  std::vector<std::int64_t> category_of_class_;
  bool is_first_ = true;
};

}  // namespace

std::unique_ptr<ObjectWriter> make_coco_writer(const std::filesystem::path& path,
                                               std::vector<std::int64_t> category_of_class) {
  return std::make_unique<CocoWriter>(path, std::move(category_of_class));
}

}  // namespace vistazo::apps
