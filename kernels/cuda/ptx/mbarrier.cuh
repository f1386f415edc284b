#pragma once

#include <cstdint>

// Barriers in shared memory that count arrivals and bytes of bulk copies (sm_90). A barrier's phase completes when as
// many threads have arrived as it was initialised with and all announced bytes are there; then the next begins. A wait
// names the parity of the phase that must be complete: 0 for the first, 1 for the second and so on.
namespace vistazo::cuda::ptx {

using Barrier = std::uint64_t;

__device__ inline std::uint32_t shared_address(const void* shared) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
}

__device__ inline void mbarrier_init(Barrier* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Makes initialised barriers visible to bulk copies and to the other blocks of the cluster, which a barrier must
// follow.
__device__ inline void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void mbarrier_arrive(Barrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// Arrives, and announces bytes that copies to come will bring.
__device__ inline void mbarrier_arrive_expect_tx(Barrier* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}

// Arrives at the barrier at the same place in another block of the cluster; what this thread has written before is
// visible to threads there that wait with mbarrier_wait_cluster().
__device__ inline void mbarrier_arrive_cluster(Barrier* barrier, int rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}

__device__ inline void mbarrier_wait(Barrier* barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred complete;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 complete, [%0], %1;\n"
      "@!complete bra again;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

// For waits that are long as a rule: the thread sleeps until the phase completes or a millisecond is over, where the
// wait above asks again every 20 cycles or so and takes issue slots from those that compute.
__device__ inline void mbarrier_sleep(Barrier* barrier, int parity) {
  constexpr int kNanoseconds = 1000000;
  asm volatile(
      "{\n"
      ".reg .pred complete;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 complete, [%0], %1, %2;\n"
      "@!complete bra again;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity), "n"(kNanoseconds)
      : "memory");
}

__device__ inline void mbarrier_wait_cluster(Barrier* barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred complete;\n"
      "again:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 complete, [%0], %1;\n"
      "@!complete bra again;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

}  // namespace vistazo::cuda::ptx
