#pragma once

#include "kernels/cuda/index.cuh"
#include "kernels/window_grid.h"

namespace vistazo::cuda {

// WindowGrid::token_row() on the device.
struct WindowsToGridMap {
  WindowGrid grid;

  __device__ std::int64_t operator()(std::int64_t patch) const {
    const int window_height = grid.height / grid.windows, window_width = grid.width / grid.windows;
    const auto [image_row, x] = divide(patch, grid.width);
    const auto [batch, y] = divide(image_row, grid.height);
    const int window = y / window_height * grid.windows + x / window_width;
    const std::int64_t window_tokens = grid.prefix + window_height * window_width;
    return (batch * grid.windows * grid.windows + window) * window_tokens + grid.prefix +
           y % window_height * window_width + x % window_width;
  }
};

}  // namespace vistazo::cuda
