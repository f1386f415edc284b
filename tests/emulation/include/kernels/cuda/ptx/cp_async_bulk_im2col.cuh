#pragma once

#include <cuda.h>

#include "kernels/cuda/ptx/cp_async_bulk_tensor.cuh"

namespace vistazo::cuda::ptx {

inline void cp_async_bulk_tensor_2d(void* shared, const CUtensorMap* map, int x0, int x1, Barrier* barrier) {
  copy_box(shared, *map, {x0, x1, 0, 0, 0}, 2, barrier);
}

inline void cp_async_bulk_tensor_2d_multicast(void* shared, const CUtensorMap* map, int x0, int x1, Barrier* barrier,
                                              int blocks) {
  copy_box(shared, *map, {x0, x1, 0, 0, 0}, 2, barrier, blocks);
}

// The first corner and how far its pixels are from it.
struct Pixels {
  int channel, x, y, image, tap_x, tap_y;
};
void copy_pixels(void* shared, const CUtensorMap& map, const Pixels& pixels, Barrier* barrier, int blocks = 0);

inline void cp_async_bulk_tensor_im2col(void* shared, const CUtensorMap* map, int channel, int x, int y, int image,
                                        int tap_x, int tap_y, Barrier* barrier) {
  copy_pixels(shared, *map, {channel, x, y, image, tap_x, tap_y}, barrier);
}

inline void cp_async_bulk_tensor_im2col_multicast(void* shared, const CUtensorMap* map, int channel, int x, int y,
                                                  int image, int tap_x, int tap_y, Barrier* barrier, int blocks) {
  copy_pixels(shared, *map, {channel, x, y, image, tap_x, tap_y}, barrier, blocks);
}

}  // namespace vistazo::cuda::ptx
