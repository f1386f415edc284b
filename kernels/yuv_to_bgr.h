#pragma once

#include <cstdint>

#include "kernels/base/error.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// The weights of red and blue in the luma: ITU-R BT.601, BT.709, BT.2020 (non-constant luminance).
enum class YuvMatrix : std::uint8_t { bt601, bt709, bt2020 };

// A video frame with chroma at half its size (NV12, or I420's three planes) to interleaved 8-bit BGR. With kr and kb of
// the matrix, kg = 1 - kr - kb, and l = (y - 16) * 255 / 219, s = 255 / 224; or of the full range l = y, s = 1:
//   r = l + s * 2 (1 - kr) (v - 128)
//   b = l + s * 2 (1 - kb) (u - 128)
//   g = l - s * 2 (1 - kb) kb / kg (u - 128) - s * 2 (1 - kr) kr / kg (v - 128)
// rounded and clipped to 0..255. A sample of chroma serves two pixels of two rows. Sums are in fixed point of 16 bits,
// the same on every device; the values are those above, rounded, but for what lies within 0.01 of a half.
struct YuvToBgrArgs {
  const std::uint8_t* y;          // (height, width)
  const std::uint8_t *u, *v;      // (ceil(height / 2), ceil(width / 2))
  std::int64_t y_row_bytes;       // from one row to the next
  std::int64_t chroma_row_bytes;  // of u and of v
  int chroma_step;                // from one sample to the next: 1, or 2 where u and v alternate (v = u + 1)
  std::uint8_t* bgr;              // (height, width, 3)
  std::int64_t bgr_row_bytes;
  int height, width;
  YuvMatrix matrix;
  bool is_full_range;
};

// The weights above times 1 << kYuvBits.
constexpr int kYuvBits = 16;
struct YuvWeights {
  std::int32_t luma, red_v, green_u, green_v, blue_u;
  std::int32_t black;  // of y
};

constexpr YuvWeights yuv_weights(YuvMatrix matrix, bool is_full_range) {
  const double kr = matrix == YuvMatrix::bt601 ? 0.299 : matrix == YuvMatrix::bt709 ? 0.2126 : 0.2627;
  const double kb = matrix == YuvMatrix::bt601 ? 0.114 : matrix == YuvMatrix::bt709 ? 0.0722 : 0.0593;
  const double kg = 1 - kr - kb, one = 1 << kYuvBits;
  const double luma = is_full_range ? one : one * 255 / 219, chroma = is_full_range ? one : one * 255 / 224;
  const auto rounded = [](double positive) { return static_cast<std::int32_t>(positive + 0.5); };
  return {rounded(luma),
          rounded(chroma * 2 * (1 - kr)),
          -rounded(chroma * 2 * (1 - kb) * kb / kg),
          -rounded(chroma * 2 * (1 - kr) * kr / kg),
          rounded(chroma * 2 * (1 - kb)),
          is_full_range ? 0 : 16};
}

// Throws Error{argument} for sizes, strides or steps that cannot be.
inline void require_valid(const YuvToBgrArgs& args) {
  if (args.height < 1 || args.width < 1) {
    fail(Error::Code::argument, "yuv_to_bgr: a frame of {} x {}; at least 1 x 1 is wanted", args.width, args.height);
  }
  if (args.chroma_step != 1 && args.chroma_step != 2) {
    fail(Error::Code::argument, "yuv_to_bgr: chroma_step {}; 1 or 2 is wanted", args.chroma_step);
  }
  const std::int64_t chroma_row = std::int64_t{args.chroma_step} * ((args.width + 1) / 2);
  if (args.y_row_bytes < args.width || args.chroma_row_bytes < chroma_row ||
      args.bgr_row_bytes < std::int64_t{3} * args.width) {
    fail(Error::Code::argument, "yuv_to_bgr: rows of {}, {} and {} bytes; {} pixels need {}, {} and {}",
         args.y_row_bytes, args.chroma_row_bytes, args.bgr_row_bytes, args.width, args.width, chroma_row,
         3 * args.width);
  }
}

namespace cpu {
void yuv_to_bgr(const YuvToBgrArgs& args, const ThreadPool& pool);
}  // namespace cpu

namespace cuda {
// On the stream; pointers are to device memory. u and v alternate: chroma_step is 2, as decoders of GPUs have it.
void yuv_to_bgr(const YuvToBgrArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
