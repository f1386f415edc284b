#pragma once

#include <cstring>

#include "kernels/cuda/ptx/mbarrier.cuh"
#include "tests/emulation/machine.h"

namespace vistazo::cuda::ptx {

inline int cluster_rank() {
  return emulation::cluster_rank();
}
inline int cluster_index() {
  return static_cast<int>(emulation::block_index().x) / emulation::cluster_blocks();
}
inline int cluster_blocks() {
  return emulation::cluster_blocks();
}
inline void cluster_barrier() {
  emulation::cluster_barrier();
}
inline float4 load_cluster_v4(const void* shared, int rank) {
  float4 x;
  std::memcpy(&x, emulation::in_block(shared, rank), sizeof(x));
  return x;
}
inline float2 load_cluster_v2(const void* shared, int rank) {
  float2 x;
  std::memcpy(&x, emulation::in_block(shared, rank), sizeof(x));
  return x;
}

}  // namespace vistazo::cuda::ptx
