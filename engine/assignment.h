#pragma once

#include <span>
#include <vector>

namespace vistazo {

// The cheapest one-to-one assignment of rows to columns: costs (rows, cols), row-major. -> for each row its column, or
// -1. A pair that costs more than max_cost is never assigned: leaving both out costs as much as such a pair. Shortest
// augmenting paths (Jonker & Volgenant 1987), O(n^3) for n = rows + cols at worst. Ties go to lower columns.
std::vector<int> assign(std::span<const float> costs, int rows, int cols, float max_cost);

}  // namespace vistazo
