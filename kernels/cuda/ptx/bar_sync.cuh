#pragma once

namespace vistazo::cuda::ptx {

// A barrier of some of a block's warps, kThreads in all. Barrier 0 is __syncthreads().
template <int kThreads>
__device__ inline void named_barrier(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
}

}  // namespace vistazo::cuda::ptx
