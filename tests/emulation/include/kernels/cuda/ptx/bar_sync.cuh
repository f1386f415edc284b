#pragma once

#include "tests/emulation/machine.h"

namespace vistazo::cuda::ptx {

template <int kThreads>
void named_barrier(int barrier) {
  emulation::block_barrier(barrier, kThreads);
}

}  // namespace vistazo::cuda::ptx
