#include "kernels/cuda/divisor.cuh"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace vistazo {
namespace {

TEST_CASE("divisor: quotient and rest of any index") {
  constexpr int kMost = std::numeric_limits<int>::max();
  std::vector<int> divisors;
  for (int i = 1; i <= 300; ++i) divisors.push_back(i);
  for (int bit = 9; bit < 31; ++bit) {
    for (const int near : {-1, 0, 1}) divisors.push_back((1 << bit) + near);
  }
  divisors.push_back(kMost);
  for (const int divisor : divisors) {
    const cuda::Divisor by(divisor);
    std::vector<std::int64_t> indices = {0, 1, 2, 577, 31040, kMost - 1, kMost};
    for (const std::int64_t multiple :
         {std::int64_t{1}, std::int64_t{3}, std::int64_t{1000}, kMost / std::int64_t{divisor}}) {
      for (const int near : {-1, 0, 1}) indices.push_back(multiple * divisor + near);
    }
    for (const std::int64_t wide : indices) {
      if (wide < 0 || wide > kMost) continue;
      const int index = static_cast<int>(wide);
      const auto result = by.divide(index);
      CAPTURE(divisor);
      CAPTURE(index);
      CHECK(result.quotient == index / divisor);
      CHECK(result.rest == index % divisor);
    }
  }
}

}  // namespace
}  // namespace vistazo
