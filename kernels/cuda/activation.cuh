#pragma once

#include "kernels/activation.h"

namespace vistazo::cuda {

// The branch is the same for all threads.
__device__ inline float activate(float x, Activation activation) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x < 0.0f ? 0.0f : x;
    case Activation::silu:
      return x / (1.0f + expf(-x));
    case Activation::gelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752440f));
  }
  return x;
}

}  // namespace vistazo::cuda
