#include "apps/detection_loop.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "apps/image_reader.h"

namespace vistazo::apps {
namespace {

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

void detect_alone(const Detector& detector, DetectionResult& result) {
  const auto start = std::chrono::steady_clock::now();
  try {
    result.detections = detector.detect(result.picture.view());
  } catch (const Error& e) {
    if (e.code == Error::Code::device) throw;
    result.error = e.what();
  } catch (const std::bad_alloc&) {
    result.error = "out of memory";
  }
  result.milliseconds = milliseconds_since(start);
}

// Fills in the detections of all results that have a picture.
void detect_together(const Detector& detector, std::vector<DetectionResult>& results) {
  std::vector<Image> images;
  for (const DetectionResult& result : results) {
    if (result.error.empty()) images.push_back(result.picture.view());
  }
  if (images.empty()) return;
  const auto start = std::chrono::steady_clock::now();
  std::vector<Detections> detections;
  try {
    detections = detector.detect_batch(images);
  } catch (const std::exception& e) {
    const auto* error = dynamic_cast<const Error*>(&e);
    if (error && error->code == Error::Code::device) throw;
    for (DetectionResult& result : results) {  // find out which image it was
      if (result.error.empty()) detect_alone(detector, result);
    }
    return;
  }
  const double milliseconds = milliseconds_since(start) / static_cast<double>(images.size());
  std::size_t next = 0;
  for (DetectionResult& result : results) {
    if (!result.error.empty()) continue;
    result.detections = std::move(detections[next++]);
    result.milliseconds = milliseconds;
  }
}

// A 12-megapixel JPEG takes 100 ms to decode: on many cores one thread would hold the detector up.
int reader_threads() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 4, 1, 4);
}

}  // namespace

void detect_all(const Detector& detector, const std::vector<Input>& inputs, int batch,
                const std::function<void(DetectionResult&&)>& on_result) {
  ImageReader reader(inputs, batch + 2, reader_threads());
  std::vector<DetectionResult> results;
  int pictures = 0;
  const auto flush = [&] {
    detect_together(detector, results);
    for (DetectionResult& result : results) on_result(std::move(result));
    results.clear();
    pictures = 0;
  };
  while (auto image = reader.next()) {
    if (image->error.empty()) ++pictures;
    results.push_back({image->index, std::move(image->picture), {}, 0.0, std::move(image->error)});
    if (pictures == batch) flush();
  }
  flush();
}

int report_failures(const std::vector<Failure>& failures, std::size_t inputs) {
  if (failures.empty()) return 0;
  for (const Failure& failure : failures) fmt::print(stderr, "vistazo: {}: {}\n", failure.path, failure.reason);
  fmt::print(stderr, "vistazo: {} of {} inputs failed\n", failures.size(), inputs);
  return 1;
}

}  // namespace vistazo::apps
