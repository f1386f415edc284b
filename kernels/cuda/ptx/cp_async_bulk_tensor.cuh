#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda/ptx/mbarrier.cuh"

// Copies of boxes of a tensor to shared memory by the copy engine (sm_90). Tensor maps are kernel parameters.
namespace vistazo::cuda::ptx {

__device__ inline void prefetch_tensormap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// One thread starts the copy of a whole box; its bytes, those outside the tensor included, are counted by `barrier`.
// The first coordinate is that of the densest dimension.
__device__ inline void cp_async_bulk_tensor_4d(void* shared, const CUtensorMap* map, int x0, int x1, int x2, int x3,
                                               Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], "
      "[%6];" ::"r"(shared_address(shared)),
      "l"(map), "r"(x0), "r"(x1), "r"(x2), "r"(x3), "r"(shared_address(barrier))
      : "memory");
}

__device__ inline void cp_async_bulk_tensor_5d(void* shared, const CUtensorMap* map, int x0, int x1, int x2, int x3,
                                               int x4, Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5, "
      "%6}]"
      ", [%7];" ::"r"(shared_address(shared)),
      "l"(map), "r"(x0), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(shared_address(barrier))
      : "memory");
}

}  // namespace vistazo::cuda::ptx
