#include <algorithm>

#include "apps/density.h"

namespace vistazo::apps {
namespace {

constexpr int kMostCells = 256;    // a side
constexpr int kSmallestCell = 32;  // pixels

int cells(int length, int cell) {
  return (length + cell - 1) / cell;
}

}  // namespace

DensityMap::DensityMap(int width, int height)
    : cell_(std::max(kSmallestCell, cells(std::max(width, height), kMostCells))),
      columns_(cells(width, cell_)),
      rows_(cells(height, cell_)),
      counts_(static_cast<std::size_t>(columns_) * static_cast<std::size_t>(rows_)) {}

void DensityMap::add(const Detection& object) {
  const Box& b = object.box;
  const auto index = [&](float centre, int count) {
    return std::clamp(static_cast<int>(centre) / cell_, 0, count - 1);
  };
  ++objects_;
  ++counts_[static_cast<std::size_t>(index((b.y0 + b.y1) / 2, rows_)) * static_cast<std::size_t>(columns_) +
            static_cast<std::size_t>(index((b.x0 + b.x1) / 2, columns_))];
}

}  // namespace vistazo::apps
