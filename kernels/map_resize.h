#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

enum class MapInterpolation : std::uint8_t { nearest, bilinear };

// Resizes feature maps as torch.nn.functional.interpolate does. Nearest: row floor(i * height / out_height). Bilinear
// (align_corners=False): between the cells around max((i + 1/2) * height / out_height - 1/2, 0), the last one repeated;
// weights and sums in f32. NHWC; pixels follow each other row by row, images without a gap; a pixel's channels may be a
// slice of a wider tensor's.
struct MapResizeArgs {
  const void* x;  // (B, height, width, channels)
  void* y;        // (B, out_height, out_width, channels)
  int batch, height, width, out_height, out_width, channels;
  MapInterpolation interpolation;
  std::int64_t x_pixel_stride, y_pixel_stride;  // elements
  DType dtype;                                  // f32 or bf16; on CUDA f16 too
};

namespace cpu {
void map_resize(const MapResizeArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void map_resize(const MapResizeArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
