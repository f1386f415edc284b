#pragma once

#include <vistazo/detector.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "apps/json_output.h"
#include "apps/outputs/partial_file.h"

namespace vistazo::apps {

// The JSON lines of a tiled run, each on disk as soon as it is known:
//   {"scan": .., "width": .., .. what the run was asked for}
//   {"window": 17, "detections": [[x0, y0, x1, y1, score, class_id], ..]}   in pixels of the window, before merging
//   {"box": [..], "score": .., "class_id": .., "label": ..}                 an object, in full-resolution pixels
//   {"windows": .., "objects": ..}                                          the end
// A run that was stopped, or killed, goes on from the windows in FILE.partial and ends with the same file.
class TileRecord {
 public:
  // resume: goes on from the partial file if there is one, whose last line may be torn off. Throws Error{file} if it is
  // of a run that was asked for something else, and Error{argument} if there is one and resume is not set.
  TileRecord(const std::filesystem::path& path, const Json& request, bool resume, std::vector<std::string> class_names);

  // The detections of the windows that an earlier run has finished, in order.
  std::optional<Detections> next_known();
  int known_windows() const { return known_windows_; }

  void add_window(int window, const Detections& detections);
  // All objects of the run in order: those that are in the file already are passed over.
  void add_objects(const Detections& objects);
  void finish(int windows, std::int64_t objects);

 private:
  void read_partial(const std::filesystem::path& partial, const std::string& request);

  std::ifstream known_;  // the partial file of the earlier run
  int known_windows_ = 0, told_windows_ = 0;
  std::int64_t known_objects_ = 0, objects_ = 0;
  std::vector<std::string> class_names_;
  std::optional<PartialFile> file_;
};

}  // namespace vistazo::apps
