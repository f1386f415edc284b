#pragma once

#include <cuda.h>

#include "kernels/cuda/ptx/cp_async_bulk_tensor.cuh"

namespace vistazo::cuda::ptx {

inline void cp_async_bulk_tensor_2d(void* shared, const CUtensorMap* map, int x0, int x1, Barrier* barrier) {
  copy_box(shared, *map, {x0, x1, 0, 0, 0}, 2, barrier);
}

void cp_async_bulk_tensor_im2col(void* shared, const CUtensorMap* map, int channel, int x, int y, int image, int tap_x,
                                 int tap_y, Barrier* barrier);

}  // namespace vistazo::cuda::ptx
