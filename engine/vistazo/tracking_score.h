#pragma once

#include <vistazo/detector.h>

#include <cstdint>
#include <map>
#include <span>
#include <utility>

namespace vistazo {

struct IdentifiedBox {
  std::int64_t id = 0;
  Box box;
};

// How well tracks follow the truth.
struct TrackingScore {
  double mota = 0;  // 1 - (misses + false positives + switches) / truths; negative if the errors outnumber the truths
  double idf1 = 0;  // F1 of boxes that carry the right identity, under the best one-to-one map of identities
  std::int64_t truths = 0, found = 0, misses = 0, false_positives = 0, switches = 0;
};

// CLEAR MOT (Bernardin & Stiefelhagen 2008, doi 10.1155/2008/246309) and identity measures (Ristani et al. 2016,
// arXiv:1609.01775), as py-motmetrics counts them. A truth and a box match from IoU min_iou on.
class TrackingScorer {
 public:
  explicit TrackingScorer(float min_iou = 0.5f) : min_iou_(min_iou) {}

  // The next frame. Within a frame an id appears once on each side; throws Error{argument} otherwise.
  void add_frame(std::span<const IdentifiedBox> truths, std::span<const IdentifiedBox> found);
  // Of all frames so far. Without truths, mota is 0.
  TrackingScore score() const;

 private:
  float min_iou_;
  TrackingScore counts_;
  std::map<std::int64_t, std::int64_t> last_match_;  // truth -> what it was matched to last
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t>
      together_;  // frames in which a truth and a track overlap
  // Frames of each id.
  std::map<std::int64_t, std::int64_t> truth_frames_, found_frames_;
};

}  // namespace vistazo
