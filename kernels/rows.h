#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"
#include "kernels/window_grid.h"

// Copies of rows by index arithmetic: patches, windows, gathers.
namespace vistazo {

class ThreadPool;

// Rows of a patch-embedding matmul: y[b][token] = the pixels of that token's patch in the order (channel, y, x); zeros
// for prefix tokens.
struct PatchesArgs {
  const float* pixels;  // (B, channels, grid.height * patch, grid.width * patch)
  void* y;              // (B, grid.tokens(), channels * patch * patch)
  int batch, channels, patch;
  WindowGrid grid;
  DType y_dtype;  // f32 or bf16; on CUDA f16 too
};

// y[b][row][col] = x[b][token of that patch], for patch tokens only: from window-major tokens to a feature map in NHWC.
struct WindowsToGridArgs {
  const void* x;  // (B, grid.tokens(), cols), dense
  void* y;        // (B, grid.height, grid.width, ...): rows at y_row_stride elements, cols of each are written
  int batch, cols;
  std::int64_t y_row_stride;
  WindowGrid grid;
  DType dtype;  // of x and y: any 2- or 4-byte type
};

// y[b][i] = x[b or 0][index[b][i]]. An index outside x is an error; on CUDA, where only the kernel sees it, its row is
// zeros.
struct GatherRowsArgs {
  const void* x;              // (B, x_rows, cols), dense; or (x_rows, cols) shared by the batch
  const std::int32_t* index;  // (B, rows)
  void* y;                    // (B, rows, cols), dense
  int batch, x_rows, rows, cols;
  bool shared;
  DType dtype;  // any 2- or 4-byte type
};

namespace cpu {
void patches(const PatchesArgs& args, const ThreadPool& pool);
void windows_to_grid(const WindowsToGridArgs& args, const ThreadPool& pool);
void gather_rows(const GatherRowsArgs& args, const ThreadPool& pool);
}  // namespace cpu

namespace cuda {
// On the stream; pointers are to device memory.
void patches(const PatchesArgs& args, CudaStream stream);
void windows_to_grid(const WindowsToGridArgs& args, CudaStream stream);
void gather_rows(const GatherRowsArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
