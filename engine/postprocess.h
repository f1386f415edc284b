#pragma once

#include <vistazo/detector.h>

#include <optional>
#include <span>
#include <vector>

#include "engine/model.h"
#include "engine/preprocess.h"
#include "kernels/detections.h"

namespace vistazo {

struct Selection {
  float min_score = 0;
  int max_detections = 0;
  float nms_iou = 0;  // 0: none
  // By class, in place of min_score; above 1: the class is left out. Empty: min_score for all.
  std::vector<float> class_min_scores = {};
};

// Scores the (queries x classes) logits, takes the best, and puts their boxes into pixels of the image, clipped.
// A query may be found more than once, with different classes: each pair is a candidate of its own.
class PostProcessor {
 public:
  // Appends to `out`, best first; equal scores in the order of query, then class. Candidates whose box is empty after
  // clipping, or not finite, are dropped.
  void run(std::span<const float> logits, std::span<const float> boxes, int classes, const Placement& placement,
           GridSize image, const Selection& selection, Detections& out);

  // Whether the candidates of a selection are those above one logit, which a device can select: none otherwise.
  static std::optional<float> only_threshold(const Selection& selection);
  // The same for the best max_detections candidates above that threshold, best first.
  static void run_selected(std::span<const DetectionCandidate> candidates, int classes, const Placement& placement,
                           GridSize image, const Selection& selection, Detections& out);

 private:
  struct Candidate {
    float logit;
    int index;  // query * classes + class
  };
  std::vector<float> thresholds_;      // of the logits, by class
  std::vector<Candidate> candidates_;  // kept, so that a steady stream of images allocates nothing
};

// Intersection over union; 0 for empty boxes.
float box_iou(const Box& a, const Box& b);

// Greedy non-maximum suppression, in place: drops what overlaps a better box, of its class or of any, by more than iou.
enum class Suppression { within_class, across_classes };
void suppress_overlaps(Detections& detections, float iou, Suppression kind = Suppression::within_class);

}  // namespace vistazo
