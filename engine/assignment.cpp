#include "engine/assignment.h"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace vistazo {

// Every row gets a column of its own beside the given ones, which costs max_cost: taking it means to stay alone.
std::vector<int> assign(std::span<const float> costs, int rows, int cols, float max_cost) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto cost = [&](int row, int col) -> double {
    if (col >= cols) return col == cols + row ? static_cast<double>(max_cost) : kInfinity;
    const float c =
        costs[static_cast<std::size_t>(row) * static_cast<std::size_t>(cols) + static_cast<std::size_t>(col)];
    return c <= max_cost ? static_cast<double>(c) : kInfinity;
  };
  const auto all = static_cast<std::size_t>(cols + rows);
  std::vector<int> row_of(all, -1), col_of(static_cast<std::size_t>(rows), -1), previous(all);
  std::vector<double> price(all, 0), row_price(static_cast<std::size_t>(rows), 0), distance(all);
  std::vector<char> is_done(all);
  for (int start = 0; start < rows; ++start) {
    // Dijkstra from row `start` over reduced costs to the nearest column that nobody has.
    std::ranges::fill(distance, kInfinity);
    std::ranges::fill(is_done, 0);
    std::ranges::fill(previous, start);
    int row = start, end = -1;
    double reached = 0;
    while (end < 0) {
      int nearest = cols + start;  // always within reach, and free
      for (int col = 0; col < static_cast<int>(all); ++col) {
        const auto c = static_cast<std::size_t>(col);
        if (is_done[c]) continue;
        const double through = reached + cost(row, col) - row_price[static_cast<std::size_t>(row)] - price[c];
        if (through < distance[c]) {
          distance[c] = through;
          previous[c] = row;
        }
        if (distance[c] < distance[static_cast<std::size_t>(nearest)]) nearest = col;
      }
      const auto n = static_cast<std::size_t>(nearest);
      reached = distance[n];
      is_done[n] = 1;
      if (row_of[n] < 0) {
        end = nearest;
      } else {
        row = row_of[n];
      }
    }
    for (std::size_t c = 0; c < all; ++c) {
      if (!is_done[c] || static_cast<int>(c) == end) continue;
      price[c] += distance[c] - reached;
      row_price[static_cast<std::size_t>(row_of[c])] += reached - distance[c];
    }
    row_price[static_cast<std::size_t>(start)] += reached;
    for (int col = end; col >= 0;) {  // back along the path, every row takes the next column
      const int r = previous[static_cast<std::size_t>(col)];
      row_of[static_cast<std::size_t>(col)] = r;
      std::swap(col, col_of[static_cast<std::size_t>(r)]);
      if (r == start) break;
    }
  }
  for (int& col : col_of) {
    if (col >= cols) col = -1;
  }
  return col_of;
}

}  // namespace vistazo
