#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// Which cells of a map a cell of the result is made of. Only cells of the map and of end_zeros count, so an average
// divides by their number.
struct PoolingWindow {
  int height, width;
  int stride = 1;
  int padding = 0;              // cells on all four sides, which do not count
  int end_zeros = 0;            // rows below and columns on the right of zeros, which do
  bool reaches_beyond = false;  // the last window may reach beyond the end: PyTorch's ceil_mode

  int out_height(int map_height) const { return out(map_height, height); }
  int out_width(int map_width) const { return out(map_width, width); }

 private:
  int out(int length, int window) const {
    const int room = length + end_zeros + 2 * padding - window;
    if (room < 0) return reaches_beyond && room > -stride ? 1 : 0;
    const int count = (room + (reaches_beyond ? stride - 1 : 0)) / stride + 1;
    return (count - 1) * stride >= length + end_zeros + padding ? count - 1 : count;
  }
};

enum class Pooling : std::uint8_t { max, average };

// y[b][i][j][c] = the largest, or the mean, of x[b][row][col][c] over the window of (i, j); sums in f32. NHWC; pixels
// follow each other row by row, images without a gap; a pixel's channels may be a slice of a wider tensor's.
struct PoolingArgs {
  const void* x;  // (B, height, width, channels)
  void* y;        // (B, out_height, out_width, channels)
  int batch, height, width, channels;
  PoolingWindow window;
  Pooling kind;
  std::int64_t x_pixel_stride, y_pixel_stride;  // elements
  DType dtype;                                  // f32 or bf16; on CUDA f16 too
};

namespace cpu {
void pooling(const PoolingArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void pooling(const PoolingArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
