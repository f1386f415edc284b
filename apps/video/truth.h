#pragma once

#include <vistazo/tracking_score.h>

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace vistazo::apps {

// What is to be seen on the frames of a video.
struct VideoTruth {
  std::map<std::int64_t, std::vector<IdentifiedBox>> frames;  // by frame number, from 0
  std::span<const IdentifiedBox> at(std::int64_t frame) const;
};

// A CSV file with a header and the columns frame, label, x, y, width, height (pixels) in any order, and perhaps id.
// Without ids, the first row of a label on each frame is one object, the second another. Throws Error{file} naming file
// and line.
VideoTruth read_video_truth(const std::filesystem::path& path);

}  // namespace vistazo::apps
