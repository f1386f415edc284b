#pragma once

#include <cstddef>
#include <cstdint>

namespace vistazo {

enum class YuvStandard : std::uint8_t { bt601, bt709, bt2020 };

// Borrowed 8-bit luma and, at half its size, chroma, as video decoders give them (NV12, I420).
struct YuvImage {
  const std::uint8_t* y = nullptr;
  const std::uint8_t *u = nullptr, *v = nullptr;
  int width = 0, height = 0;
  std::ptrdiff_t y_row_bytes = 0, chroma_row_bytes = 0;  // from one row to the next
  int chroma_step = 1;  // from one sample to the next: 1, or 2 where u and v alternate (v = u + 1)
  YuvStandard standard = YuvStandard::bt601;
  bool is_full_range = false;  // luma from 0 to 255 rather than from 16 to 235
};

// Writes the image as PixelFormat::bgr8, on the calling thread: each sample of chroma serves four pixels. The same
// pixels as a GpuVideoDecoder's. Throws Error{argument} for rows too short for the width.
void convert_to_bgr(const YuvImage& image, std::uint8_t* bgr, std::ptrdiff_t bgr_row_bytes);

}  // namespace vistazo
