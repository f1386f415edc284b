#pragma once

#include <cuda.h>

#include "kernels/cuda/ptx/mbarrier.cuh"

namespace vistazo::cuda::ptx {

inline void prefetch_tensormap(const CUtensorMap*) {}

// Coordinates of the box's first element, densest dimension first.
void copy_box(void* shared, const CUtensorMap& map, const int (&start)[5], int dimensions, Barrier* barrier);

inline void cp_async_bulk_tensor_4d(void* shared, const CUtensorMap* map, int x0, int x1, int x2, int x3,
                                    Barrier* barrier) {
  copy_box(shared, *map, {x0, x1, x2, x3, 0}, 4, barrier);
}

inline void cp_async_bulk_tensor_5d(void* shared, const CUtensorMap* map, int x0, int x1, int x2, int x3, int x4,
                                    Barrier* barrier) {
  copy_box(shared, *map, {x0, x1, x2, x3, x4}, 5, barrier);
}

}  // namespace vistazo::cuda::ptx
