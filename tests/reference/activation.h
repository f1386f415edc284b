#pragma once

#include <cmath>

#include "kernels/activation.h"

namespace vistazo::reference {

// In double, or in float as the plain loop that a kernel's error is compared with.
template <typename Real>
Real activate(Real x, Activation activation) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x < 0 ? Real(0) : x;
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(Real(2))));
  }
  return x;
}

}  // namespace vistazo::reference
