#pragma once

namespace vistazo::cuda::ptx {

// Registers per thread from here on (sm_90a), a multiple of 8; all 128 threads of a warpgroup. `inc` waits until others
// have given enough back.
template <int kRegisters>
__device__ inline void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace vistazo::cuda::ptx
