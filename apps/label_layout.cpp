#include "apps/label_layout.h"

#include <algorithm>
#include <array>
#include <limits>

namespace vistazo::apps {
namespace {

constexpr std::size_t kManyBoxes = 40;

Rect rect_at(int left, int top, Size size) {
  return {left, top, left + size.width, top + size.height};
}

Rect moved_inside(Rect rect, Size picture) {
  const int left = std::max(0, std::min(rect.left, picture.width - rect.width()));
  const int top = std::max(0, std::min(rect.top, picture.height - rect.height()));
  return rect_at(left, top, {rect.width(), rect.height()});
}

// From the most to the least pleasing: above, below, inside at the top, inside at the bottom, to the right.
std::array<Rect, 6> candidates(const Rect& box, Size label) {
  return {rect_at(box.left, box.top - label.height, label),
          rect_at(box.left, box.bottom, label),
          rect_at(box.left, box.top, label),
          rect_at(box.right - label.width, box.top - label.height, label),
          rect_at(box.left, box.bottom - label.height, label),
          rect_at(box.right, box.top, label)};
}

// Pixels that a label at `place` would hide. Its own box counts only where the label covers a good part of it, other
// boxes in proportion to how much of them disappears, and another label ten times.
double hidden(const Rect& place, std::size_t own, std::span<const Rect> boxes,
              const std::vector<std::optional<Rect>>& placed) {
  const double label_area = static_cast<double>(area_of(place));
  double sum = 0;
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    const auto overlap = static_cast<double>(overlap_area(place, boxes[i]));
    if (overlap == 0) continue;
    const double share = overlap / static_cast<double>(std::max(1LL, area_of(boxes[i])));
    if (i == own) {
      sum += share > 0.2 ? overlap : 0.02 * overlap;
    } else {
      sum += share > 0.05 ? overlap : 0.1 * overlap;
    }
  }
  for (const auto& other : placed) {
    if (other) sum += 10.0 * static_cast<double>(overlap_area(place, *other));
  }
  return sum / std::max(1.0, label_area);
}

}  // namespace

long long area_of(const Rect& rect) {
  return static_cast<long long>(rect.width()) * rect.height();
}

long long overlap_area(const Rect& a, const Rect& b) {
  const int width = std::min(a.right, b.right) - std::max(a.left, b.left);
  const int height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return width > 0 && height > 0 ? static_cast<long long>(width) * height : 0;
}

bool is_crowded(std::span<const Rect> boxes, std::span<const Size> labels) {
  if (boxes.size() > kManyBoxes) return true;
  std::size_t small = 0;
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    small += boxes[i].width() < labels[i].width || boxes[i].height() < labels[i].height;
  }
  constexpr std::size_t kFew = 6;  // the labels of a handful of small objects find a place
  return boxes.size() > kFew && 2 * small > boxes.size();
}

std::vector<std::optional<Rect>> place_labels(std::span<const Rect> boxes, std::span<const Size> labels, Size picture,
                                              bool is_crowded) {
  constexpr double kAcceptable = 0.05;  // share of a label in a crowded picture that may lie on something
  std::vector<std::optional<Rect>> placed(boxes.size());
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    if (is_crowded && labels[i].width > boxes[i].width()) continue;
    double least = is_crowded ? kAcceptable : std::numeric_limits<double>::infinity();
    for (const Rect& candidate : candidates(boxes[i], labels[i])) {
      const Rect place = moved_inside(candidate, picture);
      const double cost = hidden(place, i, boxes, placed);
      if (cost >= least) continue;
      least = cost;
      placed[i] = place;
    }
  }
  return placed;
}

Rect emptiest_corner(std::span<const Rect> boxes, Size size, Size picture, int margin) {
  const int right = picture.width - size.width - margin, bottom = picture.height - size.height - margin;
  const std::array<Rect, 4> corners = {rect_at(margin, margin, size), rect_at(right, margin, size),
                                       rect_at(margin, bottom, size), rect_at(right, bottom, size)};
  const auto covered = [&](const Rect& corner) {
    long long sum = 0;
    for (const Rect& box : boxes) sum += overlap_area(moved_inside(corner, picture), box);
    return sum;
  };
  return moved_inside(*std::ranges::min_element(corners, {}, covered), picture);
}

}  // namespace vistazo::apps
