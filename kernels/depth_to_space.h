#pragma once

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// y[b][2i + u][2j + v][c] = x[b][i][j][u][v][c], u and v in 0..1: the second half of a transposed convolution with
// kernel 2 and stride 2, whose first half is a matrix product.
struct DepthToSpaceArgs {
  const void* x;  // (B, height, width, 2, 2, channels), dense
  void* y;        // (B, 2 height, 2 width, channels), dense
  int batch, height, width, channels;
  DType dtype;  // any 2- or 4-byte type
};

namespace cpu {
void depth_to_space(const DepthToSpaceArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void depth_to_space(const DepthToSpaceArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
