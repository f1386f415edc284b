#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace vistazo::apps {

// Whole pixels; right and bottom are exclusive.
struct Rect {
  int left = 0, top = 0, right = 0, bottom = 0;

  int width() const { return right - left; }
  int height() const { return bottom - top; }
};

struct Size {
  int width = 0, height = 0;
};

long long area_of(const Rect& rect);
long long overlap_area(const Rect& a, const Rect& b);

// Whether boxes are so many, or most of them so small, that labels would hide what they name.
bool is_crowded(std::span<const Rect> boxes, std::span<const Size> labels);

// Where the label of each box goes: beside its upper or lower edge or into its upper corner, inside the picture. Boxes
// come in the order of their importance. A label avoids other labels and boxes; where that is impossible it takes the
// place that hides least, or, in a crowded picture, is left out. A crowded picture's labels are no wider than their
// box.
std::vector<std::optional<Rect>> place_labels(std::span<const Rect> boxes, std::span<const Size> labels, Size picture,
                                              bool is_crowded);

// The corner of the picture where a panel of `size` hides least of the boxes.
Rect emptiest_corner(std::span<const Rect> boxes, Size size, Size picture, int margin);

}  // namespace vistazo::apps
