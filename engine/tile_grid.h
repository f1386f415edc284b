#pragma once

#include <vistazo/detector.h>

#include <cstddef>
#include <utility>
#include <vector>

namespace vistazo {

// Square windows over an image, by rows. Neighbours overlap by at least the share asked for, all about equally; a
// window is larger than the image only where the image is smaller than one.
class TileGrid {
 public:
  TileGrid(int width, int height, int side, float overlap);

  int side() const { return side_; }
  int columns() const { return static_cast<int>(x_.size()); }
  int rows() const { return static_cast<int>(y_.size()); }
  int count() const { return columns() * rows(); }
  int left(int tile) const { return x_[static_cast<std::size_t>(tile % columns())]; }
  int top(int tile) const { return y_[static_cast<std::size_t>(tile / columns())]; }
  // Where the row below that of this tile begins; the image's end after the last row.
  int next_row_top(int tile) const;
  // The part of the image that a tile shows.
  Box area(int tile) const;

  // How far a box keeps from those edges of the tile that are not edges of the image too: what lies across such an edge
  // the tile does not show. Below zero for a box that reaches out of the tile.
  float depth(const Box& box, int tile) const;
  // The tiles that show all of a box, in order; none if every tile cuts it.
  std::vector<int> tiles_showing(const Box& box) const;
  // The tiles that show something of a box, in order.
  std::vector<int> tiles_touching(const Box& box) const;
  // The tile that shows most around a box; the first of equals.
  int best_tile(const Box& box) const;

 private:
  using Range = std::pair<std::size_t, std::size_t>;  // of columns or rows: from the first to behind the last
  std::vector<int> tiles_in(const Range& columns, const Range& rows) const;

  int width_, height_, side_;
  std::vector<int> x_, y_;
};

}  // namespace vistazo
