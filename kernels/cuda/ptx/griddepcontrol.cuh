#pragma once

namespace vistazo::cuda::ptx {

// Programmatic dependent launch (compute capability 9.0; nothing to do before): a kernel may start while the one before
// it in the stream still runs, and must wait before it touches memory that others write or read.

// Until the kernels that this one depends on have finished and their writes are visible.
__device__ inline void griddepcontrol_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel may start as soon as every block has said so. Says nothing about this kernel's results.
__device__ inline void griddepcontrol_launch_dependents() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

}  // namespace vistazo::cuda::ptx
