#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda/ptx/mbarrier.cuh"

// Copies by the copy engine (sm_90) of what a product's left or right operand needs; see cp_async_bulk_tensor.cuh.
namespace vistazo::cuda::ptx {

__device__ inline void cp_async_bulk_tensor_2d(void* shared, const CUtensorMap* map, int x0, int x1, Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::
          "r"(shared_address(shared)),
      "l"(map), "r"(x0), "r"(x1), "r"(shared_address(barrier))
      : "memory");
}

// Channels from `channel` on of the map's number of pixels, one after the other as a kernel's corner moves over an NHWC
// batch: first the corner (y, x) of an image, every pixel `tap_y` rows and `tap_x` columns away from its corner. Zero
// outside of the image.
__device__ inline void cp_async_bulk_tensor_im2col(void* shared, const CUtensorMap* map, int channel, int x, int y,
                                                   int image, int tap_x, int tap_y, Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}],"
      " [%6], {%7, %8};" ::"r"(shared_address(shared)),
      "l"(map), "r"(channel), "r"(x), "r"(y), "r"(image), "r"(shared_address(barrier)),
      "h"(static_cast<std::uint16_t>(tap_x)), "h"(static_cast<std::uint16_t>(tap_y))
      : "memory");
}

}  // namespace vistazo::cuda::ptx
