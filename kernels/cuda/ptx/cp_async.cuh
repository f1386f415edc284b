#pragma once

#include <cstdint>

// Copies from device to shared memory that do not pass through registers (sm_80). Each thread's copies are complete,
// for that thread, after cp_async_wait_all(); for the block after a barrier behind it.
namespace vistazo::cuda::ptx {

// 16 bytes to `shared`, of which the first `bytes` (0 to 16) come from `global` and the rest are zero. Both addresses
// are multiples of 16. Past the first-level cache.
__device__ inline void cp_async_cg_16(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(__cvta_generic_to_global(global)), "r"(bytes)
               : "memory");
}

// The same with 4 bytes, through the first-level cache.
__device__ inline void cp_async_ca_4(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(
                   static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(__cvta_generic_to_global(global)), "r"(bytes)
               : "memory");
}

// Copies since the last call form a group; cp_async_wait_group<n>() waits until all groups but the last n are complete.
__device__ inline void cp_async_commit_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
__device__ inline void cp_async_wait_group() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ inline void cp_async_wait_all() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

}  // namespace vistazo::cuda::ptx
