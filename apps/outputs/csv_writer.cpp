#include <fmt/core.h>

#include "apps/json_output.h"
#include "apps/outputs/object_writer.h"
#include "apps/outputs/partial_file.h"

namespace vistazo::apps {
namespace {

// RFC 4180: a field with a comma, quote or line break is quoted, its quotes are doubled.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

class CsvWriter final : public ObjectWriter {
 public:
  CsvWriter(const std::filesystem::path& path, std::vector<std::string> class_names, bool has_frames)
      : file_(path), class_names_(std::move(class_names)), has_frames_(has_frames) {
    file_.write(has_frames ? "image,frame,label,class_id,score,x0,y0,x1,y1\n"
                           : "image,label,class_id,score,x0,y0,x1,y1\n");
  }

  void add(const Finding& finding) override {
    std::string lines, image = csv_field(finding.source.string());
    if (has_frames_) image += fmt::format(",{}", finding.frame);
    for (const Detection& object : finding.objects) {
      const Box& b = object.box;
      lines += fmt::format("{},{},{},{},{},{},{},{}\n", image, csv_field(class_name(object.class_id, class_names_)),
                           object.class_id, rounded(object.score, 5), rounded(b.x0, 2), rounded(b.y0, 2),
                           rounded(b.x1, 2), rounded(b.y1, 2));
    }
    file_.write(lines);
  }

  void finish() override { file_.commit(); }

 private:
  PartialFile file_;
  std::vector<std::string> class_names_;
  bool has_frames_;
};

}  // namespace

std::unique_ptr<ObjectWriter> make_csv_writer(const std::filesystem::path& path, std::vector<std::string> class_names,
                                              bool has_frames) {
  return std::make_unique<CsvWriter>(path, std::move(class_names), has_frames);
}

}  // namespace vistazo::apps
