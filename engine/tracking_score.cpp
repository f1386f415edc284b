#include <vistazo/tracking_score.h>

#include <limits>
#include <set>
#include <vector>

#include "engine/assignment.h"
#include "engine/postprocess.h"
#include "kernels/base/error.h"

namespace vistazo {
namespace {

void require_unique(std::span<const IdentifiedBox> boxes, const char* side) {
  std::set<std::int64_t> ids;
  for (const IdentifiedBox& b : boxes) {
    if (!ids.insert(b.id).second) {
      fail(Error::Code::argument, "TrackingScorer: id {} appears twice among the {} of a frame", b.id, side);
    }
  }
}

}  // namespace

void TrackingScorer::add_frame(std::span<const IdentifiedBox> truths, std::span<const IdentifiedBox> found) {
  require_unique(truths, "truths");
  require_unique(found, "tracks");
  constexpr float kTooFar = 2;  // above the largest cost of a match, 1
  std::vector<float> costs;
  for (const IdentifiedBox& truth : truths) {
    for (const IdentifiedBox& box : found) {
      const float iou = box_iou(truth.box, box.box);
      costs.push_back(iou >= min_iou_ ? 1 - iou : kTooFar);
      if (iou >= min_iou_) ++together_[{truth.id, box.id}];
    }
  }
  for (const IdentifiedBox& truth : truths) ++truth_frames_[truth.id];
  for (const IdentifiedBox& box : found) ++found_frames_[box.id];

  // A truth stays with the track it had, as long as they overlap; only the others are assigned anew.
  const std::size_t cols = found.size();
  std::int64_t matches = 0;
  for (std::size_t t = 0; t < truths.size(); ++t) {
    const auto last = last_match_.find(truths[t].id);
    if (last == last_match_.end()) continue;
    for (std::size_t f = 0; f < cols; ++f) {
      if (found[f].id != last->second || costs[t * cols + f] >= kTooFar) continue;
      for (std::size_t other = 0; other < cols; ++other) costs[t * cols + other] = kTooFar;
      for (std::size_t other = 0; other < truths.size(); ++other) costs[other * cols + f] = kTooFar;
      ++matches;
    }
  }
  const std::vector<int> assigned = assign(costs, static_cast<int>(truths.size()), static_cast<int>(cols), 1);
  for (std::size_t t = 0; t < truths.size(); ++t) {
    if (assigned[t] < 0) continue;
    const std::int64_t id = found[static_cast<std::size_t>(assigned[t])].id;
    const auto [last, is_new] = last_match_.try_emplace(truths[t].id, id);
    if (!is_new && last->second != id) ++counts_.switches;
    last->second = id;
    ++matches;
  }
  const auto truth_count = static_cast<std::int64_t>(truths.size()), found_count = static_cast<std::int64_t>(cols);
  counts_.truths += truth_count;
  counts_.found += found_count;
  counts_.misses += truth_count - matches;
  counts_.false_positives += found_count - matches;
}

TrackingScore TrackingScorer::score() const {
  TrackingScore score = counts_;
  if (score.truths > 0) {
    score.mota = 1 - static_cast<double>(score.misses + score.false_positives + score.switches) /
                         static_cast<double>(score.truths);
  }
  // The map of identities under which most boxes are right.
  std::map<std::int64_t, std::size_t> col_of;
  for (const auto& [id, frames] : found_frames_) col_of.try_emplace(id, col_of.size());
  std::vector<float> costs(truth_frames_.size() * col_of.size(), 0);
  std::size_t row = 0;
  for (const auto& [id, frames] : truth_frames_) {
    for (auto pair = together_.lower_bound({id, std::numeric_limits<std::int64_t>::min()});
         pair != together_.end() && pair->first.first == id; ++pair) {
      costs[row * col_of.size() + col_of.at(pair->first.second)] = -static_cast<float>(pair->second);
    }
    ++row;
  }
  const std::vector<int> assigned =
      assign(costs, static_cast<int>(truth_frames_.size()), static_cast<int>(col_of.size()), 0);
  double right = 0;
  for (std::size_t r = 0; r < assigned.size(); ++r) {
    if (assigned[r] >= 0)
      right -= static_cast<double>(costs[r * col_of.size() + static_cast<std::size_t>(assigned[r])]);
  }
  const auto all = static_cast<double>(score.truths + score.found);
  score.idf1 = all > 0 ? 2 * right / all : 0;
  return score;
}

}  // namespace vistazo
