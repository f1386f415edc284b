#include "engine/assignment.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace vistazo {
namespace {

float total(const std::vector<float>& costs, int cols, const std::vector<int>& assigned, float max_cost) {
  float sum = 0;
  for (std::size_t r = 0; r < assigned.size(); ++r) {
    sum +=
        assigned[r] < 0 ? max_cost : costs[r * static_cast<std::size_t>(cols) + static_cast<std::size_t>(assigned[r])];
  }
  return sum;
}

// Every way to give rows columns or nothing.
float cheapest(const std::vector<float>& costs, int rows, int cols, float max_cost) {
  std::vector<int> order(static_cast<std::size_t>(rows + cols));
  std::iota(order.begin(), order.end(), 0);
  float best = std::numeric_limits<float>::max();
  do {
    std::vector<int> assigned(order.begin(), order.begin() + rows);
    for (std::size_t r = 0; r < assigned.size(); ++r) {
      if (assigned[r] >= cols) assigned[r] = -1;
    }
    best = std::min(best, total(costs, cols, assigned, max_cost));
  } while (std::ranges::next_permutation(order).found);
  return best;
}

TEST_CASE("assignment: as cheap as the best of all") {
  std::minstd_rand random(3);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (int trial = 0; trial < 60; ++trial) {
    const int rows = trial % 4, cols = trial % 5;
    std::vector<float> costs(static_cast<std::size_t>(rows * cols));
    for (float& c : costs) c = trial % 3 == 0 ? std::round(uniform(random) * 2) : uniform(random);
    const float max_cost = uniform(random);
    const std::vector<int> assigned = assign(costs, rows, cols, max_cost);
    REQUIRE(assigned.size() == static_cast<std::size_t>(rows));
    std::vector<int> used(static_cast<std::size_t>(cols));
    for (std::size_t r = 0; r < assigned.size(); ++r) {
      if (assigned[r] < 0) continue;
      CHECK(++used[static_cast<std::size_t>(assigned[r])] == 1);
      CHECK(costs[r * static_cast<std::size_t>(cols) + static_cast<std::size_t>(assigned[r])] <= max_cost);
    }
    CHECK(total(costs, cols, assigned, max_cost) == doctest::Approx(cheapest(costs, rows, cols, max_cost)));
  }
}

TEST_CASE("assignment: a chain of displacements") {
  // Row 0 must leave column 0 to row 1, which can take no other.
  CHECK(assign(std::vector<float>{1, 2, 1, 9}, 2, 2, 5) == std::vector<int>{1, 0});
  CHECK(assign(std::vector<float>{1, 9, 1, 9}, 2, 2, 5) == std::vector<int>{0, -1});
}

}  // namespace
}  // namespace vistazo
