#include "engine/postprocess.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vistazo {
namespace {

float area(const Box& b) {
  return std::max(0.0f, b.x1 - b.x0) * std::max(0.0f, b.y1 - b.y0);
}

// cxcywh in units of the model's input -> pixels of the image.
Box to_pixels(const float* box, const Placement& placement, GridSize image) {
  const auto convert = [](float value, int canvas, int begin, int placed, int size) {
    const float in_image = (value * static_cast<float>(canvas) - static_cast<float>(begin)) *
                           (static_cast<float>(size) / static_cast<float>(placed));
    return std::clamp(in_image, 0.0f, static_cast<float>(size));
  };
  const auto x = [&](float v) {
    return convert(v, placement.canvas.width, placement.left, placement.image.width, image.width);
  };
  const auto y = [&](float v) {
    return convert(v, placement.canvas.height, placement.top, placement.image.height, image.height);
  };
  const float half_width = box[2] / 2, half_height = box[3] / 2;
  return {x(box[0] - half_width), y(box[1] - half_height), x(box[0] + half_width), y(box[1] + half_height)};
}

// The sigmoid rises, so logits are compared instead of scores, and only those that pass are turned into one.
float logit_of(float score) {
  if (score <= 0.0f) return -std::numeric_limits<float>::infinity();
  return score >= 1.0f ? std::numeric_limits<float>::infinity() : std::log(score / (1.0f - score));
}

// Unless the box is empty or not finite.
void append(float logit, int class_id, const float* box, const Placement& placement, GridSize image, Detections& out) {
  if (!std::all_of(box, box + 4, [](float v) { return std::isfinite(v); })) return;
  const Detection d{to_pixels(box, placement, image), 1.0f / (1.0f + std::exp(-logit)), class_id};
  if (area(d.box) > 0) out.push_back(d);
}

}  // namespace

float box_iou(const Box& a, const Box& b) {
  const Box both{std::max(a.x0, b.x0), std::max(a.y0, b.y0), std::min(a.x1, b.x1), std::min(a.y1, b.y1)};
  const float shared = area(both), all = area(a) + area(b) - shared;
  return all > 0 ? shared / all : 0.0f;
}

void suppress_overlaps(Detections& detections, float iou, Suppression kind) {
  auto kept = detections.begin();
  for (const Detection& d : detections) {
    const bool is_hidden = std::any_of(detections.begin(), kept, [&](const Detection& better) {
      const bool is_rival = kind == Suppression::across_classes || better.class_id == d.class_id;
      return is_rival && box_iou(better.box, d.box) > iou;
    });
    if (!is_hidden) *kept++ = d;
  }
  detections.erase(kept, detections.end());
}

void PostProcessor::run(std::span<const float> logits, std::span<const float> boxes, int classes,
                        const Placement& placement, GridSize image, const Selection& selection, Detections& out) {
  thresholds_.clear();
  for (std::size_t k = 0; k < static_cast<std::size_t>(classes); ++k) {
    thresholds_.push_back(
        logit_of(selection.class_min_scores.empty() ? selection.min_score : selection.class_min_scores[k]));
  }
  candidates_.clear();
  candidates_.reserve(logits.size());
  for (std::size_t begin = 0; begin < logits.size(); begin += thresholds_.size()) {
    for (std::size_t k = 0; k < thresholds_.size(); ++k) {
      const float logit = logits[begin + k];
      if (logit >= thresholds_[k]) candidates_.push_back({logit, static_cast<int>(begin + k)});
    }
  }
  const auto is_better = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.index < b.index;
  };
  const auto count = std::min<std::size_t>(candidates_.size(), static_cast<std::size_t>(selection.max_detections));
  const auto last = candidates_.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(candidates_.begin(), last, candidates_.end(), is_better);
  out.reserve(out.size() + count);
  for (auto c = candidates_.begin(); c != last; ++c) {
    const float* box = boxes.data() + static_cast<std::ptrdiff_t>(c->index / classes) * 4;
    append(c->logit, c->index % classes, box, placement, image, out);
  }
  if (selection.nms_iou > 0) suppress_overlaps(out, selection.nms_iou);
}

std::optional<float> PostProcessor::only_threshold(const Selection& selection) {
  if (!selection.class_min_scores.empty()) return {};
  return logit_of(selection.min_score);
}

void PostProcessor::run_selected(std::span<const DetectionCandidate> candidates, int classes,
                                 const Placement& placement, GridSize image, const Selection& selection,
                                 Detections& out) {
  out.reserve(out.size() + candidates.size());
  for (const DetectionCandidate& c : candidates) append(c.logit, c.index % classes, c.box, placement, image, out);
  if (selection.nms_iou > 0) suppress_overlaps(out, selection.nms_iou);
}

}  // namespace vistazo
