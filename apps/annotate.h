#pragma once

#include <vistazo/detector.h>

#include <cstdint>
#include <span>
#include <string>

#include "apps/image_io.h"

namespace vistazo::apps {

// A copy of the picture with boxes and labels; crowded pictures get a legend and only those labels that have room.
// track_ids: of each detection, or empty; those above 0 are part of the label.
// Throws Error{unsupported} in a build without OpenCV.
Picture draw_detections(const Picture& picture, const Detections& detections, std::span<const std::string> class_names,
                        std::span<const std::int64_t> track_ids = {});
// The same on the picture itself.
void draw_onto(Picture& picture, const Detections& detections, std::span<const std::string> class_names,
               std::span<const std::int64_t> track_ids = {});

}  // namespace vistazo::apps
