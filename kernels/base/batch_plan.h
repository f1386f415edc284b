#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace vistazo {

// Kernels are chosen by how much there is to do, and some add in another order than others. A plan chooses those of a
// pass as if its batch were another: passes whose plans name the same one take the same kernels, and the bits of an
// image do not depend on how many others there are.
struct BatchPlan {
  int batch = 1;       // of the pass; every count of rows in it is a multiple
  int chosen_for = 1;  // the batch that the kernels suit

  // What a count of the pass is in that batch, or the largest int: both are more than any choice tells apart.
  int scaled(int count) const {
    const std::int64_t in_other = std::int64_t{count} * chosen_for / batch;
    return static_cast<int>(std::min<std::int64_t>(in_other, std::numeric_limits<int>::max()));
  }
};

}  // namespace vistazo
