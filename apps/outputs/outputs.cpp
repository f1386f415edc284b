#include "apps/outputs/outputs.h"

#include <fmt/core.h>

#include <charconv>
#include <map>
#include <optional>

#include "apps/class_matching.h"
#include "apps/coco_file.h"

namespace vistazo::apps {
namespace {

std::vector<std::int64_t> categories_of_classes(const CocoFile& data, const std::vector<std::string>& class_names) {
  std::vector<std::int64_t> categories(class_names.size(), -1);
  for (const auto& [class_id, category] : match_classes(class_names, data.categories).category_of_class) {
    categories[static_cast<std::size_t>(class_id)] = category;
  }
  return categories;
}

// 139 of "000000000139".
std::optional<std::int64_t> number_of(const std::string& stem) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(stem.data(), stem.data() + stem.size(), number);
  if (error != std::errc() || end != stem.data() + stem.size() || number < 0) return {};
  return number;
}

// The longest end of the path that is an annotated file's name: "val/a.jpg" before "a.jpg".
std::optional<std::int64_t> find_id(const std::map<std::string, std::int64_t>& ids, const std::filesystem::path& path) {
  std::filesystem::path end;
  std::optional<std::int64_t> found;
  std::vector<std::filesystem::path> parts(path.begin(), path.end());
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    end = end.empty() ? *part : *part / end;
    if (const auto known = ids.find(end.generic_string()); known != ids.end()) found = known->second;
  }
  return found;
}

}  // namespace

void add_output_options(CLI::App& command, OutputOptions& options) {
  command.add_option("--csv", options.csv, "Write a table with a line for each object")->type_name("FILE");
  CLI::Option* coco =
      command.add_option("--coco", options.coco, "Write the objects as COCO results")->type_name("FILE");
  command.add_option("--coco-ids", options.coco_ids, "Annotations whose ids of images and categories --coco takes")
      ->needs(coco)
      ->type_name("FILE");
  command.add_option("--yolo", options.yolo, "Write a YOLO label file for each image into this folder")
      ->type_name("DIR");
  command.add_option("--crops", options.crops, "Write a picture of each object into this folder")->type_name("DIR");
}

Outputs::Outputs(const OutputOptions& options, const std::vector<std::string>& class_names, bool has_frames,
                 bool crops_are_lossless) {
  if (!options.csv.empty()) add(make_csv_writer(options.csv, class_names, has_frames));
  if (!options.coco.empty()) {
    std::vector<std::int64_t> categories;
    if (!options.coco_ids.empty()) categories = categories_of_classes(read_coco_file(options.coco_ids), class_names);
    add(make_coco_writer(options.coco, std::move(categories)));
  }
  if (!options.yolo.empty()) add(make_yolo_writer(options.yolo, class_names));
  if (!options.crops.empty()) add(make_crop_writer(options.crops, class_names, crops_are_lossless));
}

void Outputs::add(const Finding& finding) {
  for (const auto& writer : writers_) writer->add(finding);
}

void Outputs::finish() {
  for (const auto& writer : writers_) writer->finish();
}

std::vector<std::int64_t> coco_image_ids(const OutputOptions& options, const std::vector<Input>& inputs) {
  std::map<std::string, std::int64_t> annotated;
  if (!options.coco_ids.empty()) {
    for (const CocoImage& image : read_coco_file(options.coco_ids).images) annotated[image.file_name] = image.id;
  }
  std::vector<std::int64_t> ids;
  for (const Input& input : inputs) {
    const auto place = static_cast<std::int64_t>(ids.size()) + 1;
    if (options.coco_ids.empty()) {
      ids.push_back(number_of(input.path.stem().string()).value_or(place));
      continue;
    }
    const auto id = find_id(annotated, input.path);
    if (!id && input.error.empty()) {
      throw Error(Error::Code::argument,
                  fmt::format("{}: is not among the images of {}", input.path.string(), options.coco_ids));
    }
    ids.push_back(id.value_or(place));
  }
  return ids;
}

Picture cut_picture(const Picture& picture, const Rect& part) {
  constexpr int kChannels = 3;
  std::uint8_t* first = picture.pixels.get() + part.top * picture.row_bytes + kChannels * part.left;
  return {std::shared_ptr<std::uint8_t>(picture.pixels, first), part.width(), part.height(), picture.row_bytes,
          picture.is_lossless};
}

}  // namespace vistazo::apps
