#include <vistazo/yuv_image.h>

#include "engine/yuv_args.h"
#include "kernels/cpu/thread_pool.h"

namespace vistazo {

void convert_to_bgr(const YuvImage& image, std::uint8_t* bgr, std::ptrdiff_t bgr_row_bytes) {
  cpu::yuv_to_bgr(yuv_args(image, bgr, bgr_row_bytes), ThreadPool(1));
}

}  // namespace vistazo
