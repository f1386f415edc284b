#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "apps/coco_eval.h"

namespace vistazo::apps {

struct CocoImage {
  std::int64_t id = 0;
  std::string file_name;
};

struct CocoCategory {
  std::int64_t id = 0;
  std::string name;
};

// The annotations of a data set, as https://cocodataset.org/#format-data describes them.
struct CocoFile {
  std::vector<CocoImage> images;
  std::vector<CocoCategory> categories;
  std::vector<CocoTruth> truths;
};

// Throws Error{file} naming the path and what is missing or malformed.
CocoFile read_coco_file(const std::filesystem::path& path);

// Detections in the COCO results format: [{"image_id", "category_id", "bbox", "score"}, ..]. Throws Error{file}.
std::vector<CocoDetection> read_coco_detections(const std::filesystem::path& path);

}  // namespace vistazo::apps
