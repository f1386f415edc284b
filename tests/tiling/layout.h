#pragma once

#include <array>
#include <vector>

namespace vistazo::apps {

using Colour = std::array<double, 3>;  // mean of an image

// Which image each block of a mosaic of blocks x blocks shows, by rows. Of more images than blocks a choice that
// depends on the seed; fewer are repeated.
//
// As a slide has one stain, and a tray of slides a few: images of alike colour lie in one region. The square is cut in
// two along a grid line, and what is left again, each time where the colours of the two parts differ most.
std::vector<int> layout_by_colour(const std::vector<Colour>& images, int blocks, unsigned seed);
// As no slide is: at random.
std::vector<int> layout_mixed(int images, int blocks, unsigned seed);

}  // namespace vistazo::apps
