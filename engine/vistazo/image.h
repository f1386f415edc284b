#pragma once

#include <cstddef>
#include <cstdint>

namespace vistazo {

enum class PixelFormat { rgb8, bgr8, gray8 };

// Borrowed 8-bit pixels. Row y starts at pixels + y * row_bytes; row_bytes may be larger than a row, or negative.
// is_on_device: they lie in the memory of the GPU that the detector runs on, and whatever wrote them has finished.
struct Image {
  const std::uint8_t* pixels = nullptr;
  int width = 0;
  int height = 0;
  std::ptrdiff_t row_bytes = 0;
  PixelFormat format = PixelFormat::rgb8;
  bool is_on_device = false;
};

}  // namespace vistazo
