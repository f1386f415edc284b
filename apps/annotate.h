#pragma once

#include <vistazo/detector.h>

#include <span>
#include <string>

#include "apps/image_io.h"

namespace vistazo::apps {

// A copy of the picture with boxes and labels; crowded pictures get a legend and only those labels that have room.
// Throws Error{unsupported} in a build without OpenCV.
Picture draw_detections(const Picture& picture, const Detections& detections, std::span<const std::string> class_names);

}  // namespace vistazo::apps
