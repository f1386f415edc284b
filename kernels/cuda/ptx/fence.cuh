#pragma once

namespace vistazo::cuda::ptx {

// What this thread has written to shared memory, by stores and by cp.async that it has waited for, comes before what
// the copy engine and wgmma read there behind a barrier that follows (sm_90).
__device__ inline void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace vistazo::cuda::ptx
