#pragma once

#include <vistazo/detector.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace vistazo {

struct TrackerOptions {
  float high_score = 0.5f;       // detections from here on are matched first, with all tracks
  float low_score = 0.1f;        // those between low and high may only continue a track that was seen a frame ago
  float new_track_score = 0.6f;  // a detection that matches nothing starts a track from here on
  float min_overlap = 0.2f;      // IoU times score that a match of the first round needs
  float min_low_overlap = 0.5f;  // IoU that a match of the second round needs
  float min_new_overlap = 0.3f;  // IoU times score that a track of one frame needs to be confirmed
  int max_lost_frames = 30;      // a track unseen for longer is given up
  // Boxes grow by this fraction of their sides, on every side, before overlaps are measured: objects that move further
  // than their own size from frame to frame still meet their prediction (Yang et al. 2023, arXiv:2211.14317).
  float margin = 0.0f;
};

// Keeps the best detection of each place: drops what overlaps a better one, of whatever class, by an IoU above
// `overlap`. A detector's query may score for two classes, which are one object all the same. Detections come best
// first.
void keep_best_of_place(Detections& detections, float overlap);

// Gives detections of successive frames identities: ByteTrack (Zhang et al. 2022, arXiv:2110.06864). Boxes of tracks
// are predicted by a Kalman filter of constant velocity, and assigned to detections by overlap, whatever their classes,
// in two rounds: the certain detections first, then the uncertain ones to the tracks that are left. For one source;
// frames in order. Deterministic.
class Tracker {
 public:
  static constexpr std::int64_t kNone = -1;

  // Throws Error{argument} for options outside their ranges.
  explicit Tracker(const TrackerOptions& options = {});
  ~Tracker();
  Tracker(Tracker&&) noexcept;
  Tracker& operator=(Tracker&&) noexcept;

  // The detections of the next frame, in pixels -> for each, in the same order, its track's id, or kNone while it has
  // none. Ids start at 1 and are never given twice. frames: how many frames passed since the last call, 1 or more.
  // A detector should report scores from low_score on.
  std::vector<std::int64_t> update(std::span<const Detection> detections, int frames = 1);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vistazo
