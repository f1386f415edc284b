#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "kernels/base/aligned.h"
#include "kernels/base/error.h"
#include "kernels/base/resize_axis.h"
#include "kernels/image_resize.h"

// What the two CPU paths of image_resize share, the rounded and the unrounded one.
namespace vistazo::cpu {

// Hands out pieces of the scratch; with a null base it only counts.
class Pieces {
 public:
  explicit Pieces(void* base) : base_(static_cast<std::byte*>(base)) {}
  template <typename T>
  T* take(std::int64_t count) {
    T* piece = base_ ? reinterpret_cast<T*>(base_ + bytes_) : nullptr;
    bytes_ += align_up(static_cast<std::size_t>(count) * sizeof(T));
    return piece;
  }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  std::size_t bytes_ = 0;
};

ResizeAxis take_axis(Pieces& pieces, int in_size, int out_size, bool antialias) {
  const int taps = resize_taps(in_size, out_size, antialias);
  return {in_size,
          out_size,
          taps,
          pieces.take<std::int32_t>(out_size),
          pieces.take<std::int32_t>(out_size),
          pieces.take<std::int32_t>(std::int64_t{out_size} * taps)};
}

inline void fill_axis(ResizeAxis& axis, bool antialias, double* distances) {
  if (antialias) {
    fill_antialiased(axis, distances);
  } else {
    fill_two_taps(axis);
  }
}

inline void check_image_resize(const ImageResizeArgs& args) {
  constexpr int kLargest = 1 << 24;  // a side; taps and sums of this many are far from the limits of int
  const auto is_size = [](int size) { return size >= 1 && size <= kLargest; };
  if (!is_size(args.height) || !is_size(args.width) || !is_size(args.out_height) || !is_size(args.out_width)) {
    fail(Error::Code::argument, "image_resize: {} x {} to {} x {}; sides of 1..{} are wanted", args.width, args.height,
         args.out_width, args.out_height, kLargest);
  }
  const int channels = args.order == PixelOrder::gray ? 1 : 3;
  if (args.height > 1 && std::abs(args.row_bytes) < std::int64_t{channels} * args.width) {
    fail(Error::Code::argument, "image_resize: row_bytes {} is less than {} * width {}", args.row_bytes, channels,
         args.width);
  }
  if (args.top < 0 || args.left < 0 || args.canvas_height - args.top < args.out_height ||
      args.canvas_width - args.left < args.out_width) {
    fail(Error::Code::argument, "image_resize: {} x {} at ({}, {}) is not inside the canvas of {} x {}", args.out_width,
         args.out_height, args.left, args.top, args.canvas_width, args.canvas_height);
  }
}

// y = pixel * scale + shift, for the channels in the order of the image.
inline void fill_channel_scales(const ImageResizeArgs& args, float (&scale)[3], float (&shift)[3]) {
  for (int c = 0; c < 3; ++c) {
    scale[c] = static_cast<float>(static_cast<double>(args.rescale) / args.std[c]);
    shift[c] = static_cast<float>(-static_cast<double>(args.mean[c]) / args.std[c]);
  }
  if (args.order == PixelOrder::bgr) {
    std::swap(scale[0], scale[2]);
    std::swap(shift[0], shift[2]);
  }
}

// Pads row y of the canvas. planes: where the image's channels go in it. Returns whether the image reaches this row.
inline bool begin_canvas_row(const ImageResizeArgs& args, int y, float* (&planes)[3]) {
  const std::int64_t plane = std::int64_t{args.canvas_height} * args.canvas_width;
  const bool is_outside = y < args.top || y >= args.top + args.out_height;
  for (int c = 0; c < 3; ++c) {
    float* row = args.y + c * plane + std::int64_t{y} * args.canvas_width;
    float* end = row + args.canvas_width;
    planes[args.order == PixelOrder::bgr ? 2 - c : c] = row + args.left;
    std::fill(row, is_outside ? end : row + args.left, args.pad_value[c]);
    if (!is_outside) std::fill(row + args.left + args.out_width, end, args.pad_value[c]);
  }
  return !is_outside;
}

// The path for args.rounding == false, in image_resize_unrounded.cpp.
std::size_t unrounded_resize_scratch_bytes(const ImageResizeArgs& args);
void unrounded_resize(const ImageResizeArgs& args, const ThreadPool& pool);

}  // namespace vistazo::cpu
