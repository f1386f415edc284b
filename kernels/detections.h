#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/stream.h"

namespace vistazo {

// A (query, class) pair that may become a detection: what the host needs to score it and to put its box into pixels.
struct DetectionCandidate {
  float logit;
  std::int32_t index;  // query * classes + class
  float box[4];        // of the query, as the model gives it
};

// The max_detections highest logits of each image that are at least min_logit, highest first, equal ones in the order
// of their index. NaN is never chosen. Logits and boxes are copied, not computed with: scores and pixels are the host's
// business, with the same arithmetic for every backend (engine/postprocess.h).
struct SelectDetectionsArgs {
  const float* logits;             // (B, queries, classes)
  const float* boxes;              // (B, queries, 4)
  DetectionCandidate* candidates;  // (B, max_detections); only the first count[b] of image b are written
  std::int32_t* count;             // (B)
  int batch, queries, classes;
  int max_detections;  // 1..1024
  float min_logit;     // -infinity for all
  void* scratch;       // select_detections_scratch_bytes(), aligned to 8 bytes
};

namespace cuda {
std::size_t select_detections_scratch_bytes(const SelectDetectionsArgs& args);
// On the stream; pointers are to device memory. Throws Error{unsupported} for more than 1024 detections.
void select_detections(const SelectDetectionsArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
