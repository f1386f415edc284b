#pragma once

#include <algorithm>
#include <chrono>
#include <limits>

namespace vistazo::testing {

// The shortest of many calls, in seconds. On a machine that others use too, a team of threads rarely has all its cores,
// and the mean of a parallel kernel says more about them than about it.
class Fastest {
 public:
  template <typename Call>
  void time(Call&& call) {
    const auto start = std::chrono::steady_clock::now();
    call();
    seconds_ = std::min(seconds_, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  double seconds() const { return seconds_; }

 private:
  double seconds_ = std::numeric_limits<double>::infinity();
};

}  // namespace vistazo::testing
