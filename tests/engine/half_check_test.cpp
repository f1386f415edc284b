#include "engine/half_check.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/buffers.h"

namespace vistazo {
namespace {

TEST_CASE("half_distance: queries that change places count for nothing, lost and wrong ones do") {
  constexpr int kClasses = 7;
  const std::vector<float> exact = testing::random_floats(40 * kClasses, 3);
  std::vector<float> other(exact.begin() + kClasses, exact.end());
  other.insert(other.end(), exact.begin(), exact.begin() + kClasses);
  CHECK(half_distance(other, exact, kClasses) == 0.0);
  for (float& v : other) v *= 1.001f;
  CHECK(half_distance(other, exact, kClasses) == doctest::Approx(0.001).epsilon(0.01));
  for (float& v : other) v = -v;
  CHECK(half_distance(other, exact, kClasses) > kMaxHalfDistance);
  other[5] = std::numeric_limits<float>::infinity();
  CHECK(std::isinf(half_distance(other, exact, kClasses)));
}

}  // namespace
}  // namespace vistazo
