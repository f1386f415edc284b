#include <vistazo/tracker.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/assignment.h"
#include "engine/postprocess.h"
#include "kernels/base/error.h"

namespace vistazo {
namespace {

// One coordinate of a box under constant velocity. The covariances of a box's four coordinates never mix, since motion
// and measurement treat each by itself: the 8 x 8 filter of Wojke et al. 2017 (arXiv:1703.07402) is four of these.
struct Coordinate {
  float value = 0, velocity = 0;
  float var_value = 0, covar = 0, var_velocity = 0;

  Coordinate() = default;
  Coordinate(float measured, float value_deviation, float velocity_deviation)
      : value(measured),
        var_value(value_deviation * value_deviation),
        var_velocity(velocity_deviation * velocity_deviation) {}

  // `frames` later; the deviations are those of one frame's disturbance.
  void predict(float frames, float value_deviation, float velocity_deviation) {
    value += frames * velocity;
    var_value += frames * (2 * covar + frames * var_velocity) + frames * value_deviation * value_deviation;
    covar += frames * var_velocity;
    var_velocity += frames * velocity_deviation * velocity_deviation;
  }

  void correct(float measured, float deviation) {
    const float innovation = measured - value, variance = var_value + deviation * deviation;
    const float gain = var_value / variance, velocity_gain = covar / variance;
    value += gain * innovation;
    velocity += velocity_gain * innovation;
    var_velocity -= velocity_gain * covar;
    covar -= gain * covar;
    var_value -= gain * var_value;
  }
};

// Deviations as fractions of the box's height, as the paper above has them; the aspect ratio's are absolute.
constexpr float kPosition = 1.0f / 20, kVelocity = 1.0f / 160;
constexpr float kAspect = 0.01f, kAspectVelocity = 1e-5f, kMeasuredAspect = 0.1f;
constexpr float kSmallestSide = 1e-3f;  // of a box in pixels: an empty box still has an aspect ratio

class BoxFilter {
 public:
  explicit BoxFilter(const Box& box) {
    const std::array<float, 4> m = measure(box);
    const float position = 2 * kPosition * m[3], velocity = 10 * kVelocity * m[3];
    for (const std::size_t i : {0u, 1u, 3u}) c_[i] = Coordinate(m[i], position, velocity);
    c_[2] = Coordinate(m[2], kAspect, kAspectVelocity);
  }

  void predict(int frames, bool is_seen) {
    if (!is_seen) c_[3].velocity = 0;  // what is hidden does not go on growing
    const float height = std::max(c_[3].value, kSmallestSide), time = static_cast<float>(frames);
    for (const std::size_t i : {0u, 1u, 3u}) c_[i].predict(time, kPosition * height, kVelocity * height);
    c_[2].predict(time, kAspect, kAspectVelocity);
  }

  void correct(const Box& box) {
    const std::array<float, 4> m = measure(box);
    const float deviation = kPosition * std::max(c_[3].value, kSmallestSide);
    for (const std::size_t i : {0u, 1u, 3u}) c_[i].correct(m[i], deviation);
    c_[2].correct(m[2], kMeasuredAspect);
  }

  Box box() const {
    const float height = std::max(c_[3].value, kSmallestSide);
    const float width = std::max(c_[2].value * height, kSmallestSide);
    return {c_[0].value - width / 2, c_[1].value - height / 2, c_[0].value + width / 2, c_[1].value + height / 2};
  }

 private:
  // Centre, width / height, height.
  static std::array<float, 4> measure(const Box& b) {
    const float width = std::max(b.x1 - b.x0, kSmallestSide), height = std::max(b.y1 - b.y0, kSmallestSide);
    return {(b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2, width / height, height};
  }

  std::array<Coordinate, 4> c_;
};

struct Track {
  std::int64_t id = Tracker::kNone;  // none until a second detection confirms it
  BoxFilter filter;
  int unseen = 0;    // frames since the last detection
  int lifetime = 0;  // frames since the first

  bool is_confirmed() const { return id != Tracker::kNone; }
};

Box grown(const Box& b, float margin) {
  const float x = margin * (b.x1 - b.x0), y = margin * (b.y1 - b.y0);
  return {b.x0 - x, b.y0 - y, b.x1 + x, b.y1 + y};
}

void require_valid(const TrackerOptions& o) {
  const auto require = [](const char* name, float value, bool is_valid, const char* wanted) {
    if (!is_valid) fail(Error::Code::argument, "TrackerOptions: {} is {}; {} is wanted", name, value, wanted);
  };
  const auto require_fraction = [&](const char* name, float value) {
    require(name, value, value >= 0 && value <= 1, "0 to 1");
  };
  require_fraction("low_score", o.low_score);
  require_fraction("high_score", o.high_score);
  require_fraction("new_track_score", o.new_track_score);
  require("high_score", o.high_score, o.high_score >= o.low_score, "low_score or more");
  require("new_track_score", o.new_track_score, o.new_track_score >= o.high_score, "high_score or more");
  require_fraction("min_overlap", o.min_overlap);
  require_fraction("min_low_overlap", o.min_low_overlap);
  require_fraction("min_new_overlap", o.min_new_overlap);
  require("max_lost_frames", static_cast<float>(o.max_lost_frames), o.max_lost_frames >= 0, "0 or more");
  require("margin", o.margin, o.margin >= 0 && std::isfinite(o.margin), "0 or more");
}

}  // namespace

struct Tracker::Impl {
  explicit Impl(const TrackerOptions& o) : options(o) { require_valid(o); }

  template <typename Wanted>
  std::vector<std::size_t> select_tracks(Wanted&& wanted) const;
  void match(std::span<const std::size_t> candidates, std::vector<std::size_t>& found, float min_overlap,
             bool weighs_score);
  void remove_duplicates();

  TrackerOptions options;
  std::vector<Track> tracks;  // oldest first
  std::int64_t last_id = 0;
  bool is_first_frame = true;

  // Of the current frame.
  std::span<const Detection> detections;
  std::vector<std::int64_t> ids;
};

template <typename Wanted>
std::vector<std::size_t> Tracker::Impl::select_tracks(Wanted&& wanted) const {
  std::vector<std::size_t> selected;
  for (std::size_t t = 0; t < tracks.size(); ++t) {
    if (wanted(tracks[t])) selected.push_back(t);
  }
  return selected;
}

// Assigns the detections of `found` to candidate tracks; those that found one leave the list.
void Tracker::Impl::match(std::span<const std::size_t> candidates, std::vector<std::size_t>& found, float min_overlap,
                          bool weighs_score) {
  std::vector<float> costs;
  costs.reserve(candidates.size() * found.size());
  for (const std::size_t t : candidates) {
    const Box predicted = grown(tracks[t].filter.box(), options.margin);
    for (const std::size_t d : found) {
      const float iou = box_iou(predicted, grown(detections[d].box, options.margin));
      costs.push_back(1 - (weighs_score ? iou * detections[d].score : iou));
    }
  }
  const std::vector<int> assigned =
      assign(costs, static_cast<int>(candidates.size()), static_cast<int>(found.size()), 1 - min_overlap);
  constexpr std::size_t kTaken = static_cast<std::size_t>(-1);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (assigned[i] < 0) continue;
    std::size_t& d = found[static_cast<std::size_t>(assigned[i])];
    Track& track = tracks[candidates[i]];
    track.filter.correct(detections[d].box);
    track.unseen = 0;
    if (!track.is_confirmed()) track.id = ++last_id;
    ids[d] = track.id;
    d = kTaken;
  }
  std::erase(found, kTaken);
}

// Of a lost and a seen track on one place, the one with the longer life stays; it takes over what the other saw.
void Tracker::Impl::remove_duplicates() {
  constexpr float kSamePlace = 0.85f;  // IoU
  for (std::size_t lost = 0; lost < tracks.size(); ++lost) {
    if (tracks[lost].unseen == 0) continue;
    const auto seen = std::ranges::find_if(tracks, [&](const Track& t) {
      return t.unseen == 0 && box_iou(t.filter.box(), tracks[lost].filter.box()) > kSamePlace;
    });
    if (seen == tracks.end()) continue;
    auto dropped = tracks.begin() + static_cast<std::ptrdiff_t>(lost);
    if (tracks[lost].lifetime > seen->lifetime) {
      if (seen->is_confirmed()) std::ranges::replace(ids, seen->id, tracks[lost].id);
      tracks[lost].filter = seen->filter;
      tracks[lost].unseen = 0;
      dropped = seen;
    }
    const bool is_before = dropped - tracks.begin() <= static_cast<std::ptrdiff_t>(lost);
    tracks.erase(dropped);
    if (is_before) --lost;  // wraps at 0, and the loop brings it back
  }
}

void keep_best_of_place(Detections& detections, float overlap) {
  suppress_overlaps(detections, overlap, Suppression::across_classes);
}

Tracker::Tracker(const TrackerOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Tracker::~Tracker() = default;
Tracker::Tracker(Tracker&&) noexcept = default;
Tracker& Tracker::operator=(Tracker&&) noexcept = default;

std::vector<std::int64_t> Tracker::update(std::span<const Detection> detections, int frames) {
  if (frames < 1) fail(Error::Code::argument, "Tracker: {} frames passed; 1 or more is wanted", frames);
  Impl& s = *impl_;
  s.detections = detections;
  s.ids.assign(detections.size(), kNone);
  for (Track& track : s.tracks) {
    track.filter.predict(frames, track.unseen == 0);
    track.unseen += frames;
    track.lifetime += frames;
  }
  std::vector<std::size_t> certain, uncertain;
  for (std::size_t d = 0; d < detections.size(); ++d) {
    if (detections[d].score >= s.options.high_score) {
      certain.push_back(d);
    } else if (detections[d].score >= s.options.low_score) {
      uncertain.push_back(d);
    }
  }
  s.match(s.select_tracks([](const Track& t) { return t.is_confirmed(); }), certain, s.options.min_overlap, true);
  s.match(s.select_tracks([&](const Track& t) { return t.is_confirmed() && t.unseen == frames; }), uncertain,
          s.options.min_low_overlap, false);
  s.match(s.select_tracks([](const Track& t) { return !t.is_confirmed(); }), certain, s.options.min_new_overlap, true);
  std::erase_if(s.tracks,
                [&](const Track& t) { return t.unseen > (t.is_confirmed() ? s.options.max_lost_frames : 0); });
  for (const std::size_t d : certain) {
    if (detections[d].score < s.options.new_track_score) continue;
    // Nothing can confirm what the first frame shows, so it needs no confirmation.
    const std::int64_t id = s.is_first_frame ? ++s.last_id : kNone;
    s.tracks.push_back({id, BoxFilter(detections[d].box)});
    s.ids[d] = id;
  }
  s.remove_duplicates();
  s.is_first_frame = false;
  return std::move(s.ids);
}

}  // namespace vistazo
