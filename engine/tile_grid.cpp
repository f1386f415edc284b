#include "engine/tile_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vistazo {
namespace {

std::vector<int> starts(int length, int side, float overlap) {
  if (length <= side) return {0};
  const int stride = std::max(1, static_cast<int>(std::floor(static_cast<float>(side) * (1.0f - overlap))));
  const int steps = (length - side + stride - 1) / stride;
  std::vector<int> result;
  for (int i = 0; i <= steps; ++i) {
    result.push_back(static_cast<int>(static_cast<std::int64_t>(length - side) * i / steps));
  }
  return result;
}

// The tiles of an axis that come into question for an interval: those that begin nearest to where it would be centred.
std::pair<std::size_t, std::size_t> nearest(const std::vector<int>& starts, float centre, int side) {
  const auto ideal = static_cast<int>(centre) - side / 2;
  const auto above = static_cast<std::size_t>(std::ranges::upper_bound(starts, ideal) - starts.begin());
  return {above == 0 ? 0 : above - 1, std::min(above, starts.size() - 1)};
}

// The tiles of an axis that show all of an interval: from the first to behind the last.
std::pair<std::size_t, std::size_t> showing(const std::vector<int>& starts, float begin, float end, int side) {
  const auto first = std::ranges::lower_bound(starts, end - static_cast<float>(side));
  const auto last = std::ranges::upper_bound(starts, begin);
  return {static_cast<std::size_t>(first - starts.begin()),
          static_cast<std::size_t>(std::max(first, last) - starts.begin())};
}

// The tiles of an axis that show something of an interval: from the first to behind the last.
std::pair<std::size_t, std::size_t> touching(const std::vector<int>& starts, float begin, float end, int side) {
  const auto first = std::ranges::upper_bound(starts, begin - static_cast<float>(side));
  const auto last = std::ranges::lower_bound(starts, end);
  return {static_cast<std::size_t>(first - starts.begin()),
          static_cast<std::size_t>(std::max(first, last) - starts.begin())};
}

}  // namespace

TileGrid::TileGrid(int width, int height, int side, float overlap)
    : width_(width),
      height_(height),
      side_(side),
      x_(starts(width, side, overlap)),
      y_(starts(height, side, overlap)) {}

int TileGrid::next_row_top(int tile) const {
  const auto next = static_cast<std::size_t>(tile / columns() + 1);
  return next < y_.size() ? y_[next] : height_;
}

Box TileGrid::area(int tile) const {
  const int x = left(tile), y = top(tile);
  return {static_cast<float>(x), static_cast<float>(y), static_cast<float>(std::min(x + side_, width_)),
          static_cast<float>(std::min(y + side_, height_))};
}

float TileGrid::depth(const Box& box, int tile) const {
  const Box t = area(tile);
  float depth = std::numeric_limits<float>::max();
  if (t.x0 > 0) depth = std::min(depth, box.x0 - t.x0);
  if (t.y0 > 0) depth = std::min(depth, box.y0 - t.y0);
  if (t.x1 < static_cast<float>(width_)) depth = std::min(depth, t.x1 - box.x1);
  if (t.y1 < static_cast<float>(height_)) depth = std::min(depth, t.y1 - box.y1);
  return depth;
}

std::vector<int> TileGrid::tiles_in(const Range& across, const Range& down) const {
  std::vector<int> tiles;
  for (std::size_t row = down.first; row < down.second; ++row) {
    for (std::size_t column = across.first; column < across.second; ++column) {
      tiles.push_back(static_cast<int>(row) * columns() + static_cast<int>(column));
    }
  }
  return tiles;
}

std::vector<int> TileGrid::tiles_showing(const Box& box) const {
  return tiles_in(showing(x_, box.x0, box.x1, side_), showing(y_, box.y0, box.y1, side_));
}

std::vector<int> TileGrid::tiles_touching(const Box& box) const {
  return tiles_in(touching(x_, box.x0, box.x1, side_), touching(y_, box.y0, box.y1, side_));
}

int TileGrid::best_tile(const Box& box) const {
  const auto [left, right] = nearest(x_, (box.x0 + box.x1) / 2, side_);
  const auto [upper, lower] = nearest(y_, (box.y0 + box.y1) / 2, side_);
  int best = -1;
  float most = 0;
  for (std::size_t row = upper; row <= lower; ++row) {
    for (std::size_t column = left; column <= right; ++column) {
      const int tile = static_cast<int>(row) * columns() + static_cast<int>(column);
      const float here = depth(box, tile);
      if (best >= 0 && here <= most) continue;
      best = tile;
      most = here;
    }
  }
  return best;
}

}  // namespace vistazo
