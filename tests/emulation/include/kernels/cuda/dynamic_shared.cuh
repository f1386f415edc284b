#pragma once

#include "tests/emulation/machine.h"

namespace vistazo::cuda {

inline unsigned char* dynamic_shared() {
  return emulation::dynamic_memory();
}

}  // namespace vistazo::cuda
