#pragma once

#include <cstdint>

#include "kernels/cuda/ptx/mbarrier.cuh"

// Blocks of a cluster (sm_90): they run at the same time and read each other's shared memory. Rank and count are read
// where they are asked for, instead of staying in registers.
namespace vistazo::cuda::ptx {

__device__ inline int cluster_rank() {
  std::uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}

__device__ inline int cluster_index() {
  std::uint32_t index;
  asm volatile("mov.u32 %0, %%clusterid.x;" : "=r"(index));
  return static_cast<int>(index);
}

__device__ inline int cluster_blocks() {
  std::uint32_t blocks;
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
  return static_cast<int>(blocks);
}

// Every thread of the cluster that has not exited.
__device__ inline void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// 16 bytes at the same place in another block's shared memory.
__device__ inline float4 load_cluster_v4(const void* shared, int rank) {
  float4 x;
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [remote];\n"
      "}"
      : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
      : "r"(shared_address(shared)), "r"(rank)
      : "memory");
  return x;
}

__device__ inline float2 load_cluster_v2(const void* shared, int rank) {
  float2 x;
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %2, %3;\n"
      "ld.shared::cluster.v2.f32 {%0, %1}, [remote];\n"
      "}"
      : "=f"(x.x), "=f"(x.y)
      : "r"(shared_address(shared)), "r"(rank)
      : "memory");
  return x;
}

}  // namespace vistazo::cuda::ptx
