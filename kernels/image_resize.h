#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

enum class PixelOrder : std::uint8_t { rgb, bgr, gray };

// uint8 pixels of any layout to a normalised planar tensor, in one call:
//   resized = bilinear resize of the image to (out_height, out_width)
//   y[c][i][j] = (resized[i][j][c] * rescale - mean[c]) / std[c] inside the placed area, pad_value[c] outside.
// With rounding, resized is uint8 as Pillow and torchvision make it of uint8 images; the horizontal pass comes first
// and is rounded too. Without, nothing is rounded: what torchvision makes of an image that was rescaled to floats
// before. antialias widens the triangle kernel by the shrinking factor (Pillow's BILINEAR); without it, two taps a side
// (torchvision with antialias=False).
struct ImageResizeArgs {
  const std::uint8_t* pixels;
  int height, width;
  std::int64_t row_bytes;  // from one row to the next, may be negative
  PixelOrder order;        // interleaved channels of the input; gray has one and is repeated
  float* y;                // (3, canvas_height, canvas_width), RGB planes
  int canvas_height, canvas_width;
  int top, left, out_height, out_width;  // where the resized image lies on the canvas
  float rescale;
  float mean[3], std[3];
  float pad_value[3];  // already normalised
  bool antialias;
  bool rounding;
  void* scratch;  // image_resize_scratch_bytes() of the backend, aligned to 4 bytes
};

namespace cpu {
std::size_t image_resize_scratch_bytes(const ImageResizeArgs& args);
void image_resize(const ImageResizeArgs& args, const ThreadPool& pool);
}  // namespace cpu

namespace cuda {
std::size_t image_resize_scratch_bytes(const ImageResizeArgs& args);
// On the stream; pointers, also that to the pixels, are to device memory. With rounding the pixels are the CPU's.
void image_resize(const ImageResizeArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
