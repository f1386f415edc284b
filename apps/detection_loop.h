#pragma once

#include <vistazo/detector.h>

#include <functional>
#include <string>
#include <vector>

#include "apps/image_io.h"
#include "apps/inputs.h"

namespace vistazo::apps {

struct DetectionResult {
  std::size_t index = 0;  // of the input
  Picture picture;        // without pixels where there is an error
  Detections detections;
  double milliseconds = 0;  // of its batch, divided by the images in it
  std::string error;        // empty: all went well
};

// Runs the detector over all inputs, `batch` images at a time, while the next ones are being read. Calls on_result from
// this thread, in the order of the inputs. One bad image fails alone; throws Error{device} if the device does.
void detect_all(const Detector& detector, const std::vector<Input>& inputs, int batch,
                const std::function<void(DetectionResult&&)>& on_result);

// What failed, for the end of a run.
struct Failure {
  std::string path, reason;
};

// Lists the failures on stderr. Returns the exit code: 0 if there are none, else 1.
int report_failures(const std::vector<Failure>& failures, std::size_t inputs);

}  // namespace vistazo::apps
