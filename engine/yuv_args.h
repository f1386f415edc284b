#pragma once

#include <vistazo/yuv_image.h>

#include "kernels/yuv_to_bgr.h"

namespace vistazo {

// The kernel's arguments for an image; its pointers are to memory of the device that the kernel runs on.
inline YuvToBgrArgs yuv_args(const YuvImage& image, std::uint8_t* bgr, std::ptrdiff_t bgr_row_bytes) {
  const YuvMatrix matrix = image.standard == YuvStandard::bt709    ? YuvMatrix::bt709
                           : image.standard == YuvStandard::bt2020 ? YuvMatrix::bt2020
                                                                   : YuvMatrix::bt601;
  return {image.y,
          image.u,
          image.v,
          image.y_row_bytes,
          image.chroma_row_bytes,
          image.chroma_step,
          bgr,
          bgr_row_bytes,
          image.height,
          image.width,
          matrix,
          image.is_full_range};
}

}  // namespace vistazo
