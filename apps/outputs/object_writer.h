#pragma once

#include <vistazo/detector.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/image_io.h"
#include "apps/label_layout.h"

namespace vistazo::apps {

// What was found in one image, one frame of a video, or one part of a scan whose other parts come before and after.
struct Finding {
  std::filesystem::path source;  // the file that was read
  std::string name;              // a file name without extension, no other image's in this run: "cat_2", "clip_000017"
  std::int64_t image_id = 0;     // of COCO results
  int frame = -1;                // of a video, from 0; -1: no video
  int width = 0, height = 0;     // of the whole image, pixels
  std::span<const Detection> objects = {};  // their boxes are in pixels of the whole image
  // A copy of part of the image, which lies inside it. Asked for crops only, before add() returns.
  std::function<Picture(const Rect&)> pixels = {};
  bool is_last_part = true;
};

// A file or folder that results are written to as they come. What add() was given is on disk when it returns; finish()
// gives files their final names. Both throw Error{file}.
class ObjectWriter {
 public:
  virtual ~ObjectWriter() = default;
  virtual void add(const Finding& finding) = 0;
  virtual void finish() = 0;
};

// image, (frame,) label, class_id, score, x0, y0, x1, y1: a line for each object behind a line of names (RFC 4180).
std::unique_ptr<ObjectWriter> make_csv_writer(const std::filesystem::path& path, std::vector<std::string> class_names,
                                              bool has_frames);

// COCO's results: [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, ..]. category_of_class: the
// category of each class, or -1 for a class that is not to be written; empty: classes are their own categories.
std::unique_ptr<ObjectWriter> make_coco_writer(const std::filesystem::path& path,
                                               std::vector<std::int64_t> category_of_class);

// FOLDER/classes.txt and FOLDER/NAME.txt for each image: "class centre_x centre_y width height", in units of the image.
std::unique_ptr<ObjectWriter> make_yolo_writer(const std::filesystem::path& folder,
                                               const std::vector<std::string>& class_names);

// FOLDER/LABEL/NAME_NUMBER.jpg: the pixels of each object; as PNG where lossless is set.
std::unique_ptr<ObjectWriter> make_crop_writer(const std::filesystem::path& folder,
                                               std::vector<std::string> class_names, bool lossless);

// For QuPath and other programs: each object a polygon with class, colour and score. The origin is taken off all boxes.
std::unique_ptr<ObjectWriter> make_geojson_writer(const std::filesystem::path& path,
                                                  std::vector<std::string> class_names, double origin_x,
                                                  double origin_y);

// The name of a class, or "class 7" where the model has none for it.
std::string class_name(int class_id, std::span<const std::string> class_names);

// Gives each image of a run a name of its own, different in more than upper and lower case: cat, cat_2. The extension
// stays behind the number.
class UniqueNames {
 public:
  std::string next(const std::string& name, std::string_view extension = {});

 private:
  std::map<std::string, int> taken_;  // in lower case, with the last number that was added to it
};

}  // namespace vistazo::apps
