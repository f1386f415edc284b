#pragma once

#include <cstdint>

namespace vistazo {

enum class Interpolation : std::uint8_t { bilinear, bicubic };

// Resizes a grid of vectors, f32, as torch.nn.functional.interpolate(align_corners=False) does. Bicubic: Keys' kernel,
// a = -0.75 without and -0.5 with antialias; the border is repeated. Antialias widens the kernel when shrinking.
// For position embeddings: runs once per image size, not per image.
struct GridResizeArgs {
  const float* x;  // (height, width, channels)
  float* y;        // (out_height, out_width, channels)
  int height, width, out_height, out_width, channels;
  Interpolation interpolation;
  bool antialias;
};

namespace cpu {
void grid_resize(const GridResizeArgs& args);
}

}  // namespace vistazo
