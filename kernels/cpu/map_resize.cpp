// Resize of feature maps. A task owns a row of one image's result. Nearest copies pixels; bilinear goes through the
// channels of a pixel's four neighbours once. Limited by memory.
#include "kernels/map_resize.h"

#include <algorithm>
#include <cstring>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/map_resize.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

// The two cells around a position of the result along one axis.
struct Neighbours {
  int first, second;
  float share;  // of the second

  Neighbours(int position, int size, int out_size) {
    const float scale = static_cast<float>(size) / static_cast<float>(out_size);
    const float source = std::max((static_cast<float>(position) + 0.5f) * scale - 0.5f, 0.0f);
    first = std::min(static_cast<int>(source), size - 1);
    second = std::min(first + 1, size - 1);
    share = source - static_cast<float>(first);
  }
};

template <typename T>
void bilinear_row(const MapResizeArgs& args, const T* image, int i, T* y) {
  const hn::ScalableTag<float> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const Neighbours rows(i, args.height, args.out_height);
  const T* upper = image + static_cast<std::int64_t>(rows.first) * args.width * args.x_pixel_stride;
  const T* lower = image + static_cast<std::int64_t>(rows.second) * args.width * args.x_pixel_stride;
  for (int j = 0; j < args.out_width; ++j, y += args.y_pixel_stride) {
    const Neighbours cols(j, args.width, args.out_width);
    const T* corners[4] = {upper + cols.first * args.x_pixel_stride, upper + cols.second * args.x_pixel_stride,
                           lower + cols.first * args.x_pixel_stride, lower + cols.second * args.x_pixel_stride};
    const auto right = hn::Set(d, cols.share), left = hn::Set(d, 1.0f - cols.share);
    const auto below = hn::Set(d, rows.share), above = hn::Set(d, 1.0f - rows.share);
    const auto mix = [&](auto&& load_corner) {
      const auto top = hn::MulAdd(load_corner(corners[1]), right, hn::Mul(load_corner(corners[0]), left));
      const auto bottom = hn::MulAdd(load_corner(corners[3]), right, hn::Mul(load_corner(corners[2]), left));
      return hn::MulAdd(bottom, below, hn::Mul(top, above));
    };
    int c = 0;
    for (; c + lanes <= args.channels; c += lanes) {
      store(mix([&](const T* corner) { return load(d, corner + c); }), d, y + c);
    }
    if (c == args.channels) continue;
    const auto rest = static_cast<std::size_t>(args.channels - c);
    store_some(mix([&](const T* corner) { return load_some(d, corner + c, rest); }), d, y + c, rest);
  }
}

template <typename T>
void nearest_row(const MapResizeArgs& args, const T* image, int i, T* y) {
  const std::int64_t row = std::int64_t{i} * args.height / args.out_height;
  for (int j = 0; j < args.out_width; ++j, y += args.y_pixel_stride) {
    const std::int64_t col = std::int64_t{j} * args.width / args.out_width;
    std::memcpy(y, image + (row * args.width + col) * args.x_pixel_stride,
                static_cast<std::size_t>(args.channels) * sizeof(T));
  }
}

template <typename T>
void resize_row_of(const MapResizeArgs& args, std::int64_t item) {
  const T* image =
      static_cast<const T*>(args.x) + item / args.out_height * args.height * args.width * args.x_pixel_stride;
  T* y = static_cast<T*>(args.y) + item * args.out_width * args.y_pixel_stride;
  const int i = static_cast<int>(item % args.out_height);
  return args.interpolation == MapInterpolation::nearest ? nearest_row(args, image, i, y)
                                                         : bilinear_row(args, image, i, y);
}

void resize_row(const MapResizeArgs& args, std::int64_t item) {
  return args.dtype == DType::f32 ? resize_row_of<float>(args, item) : resize_row_of<std::uint16_t>(args, item);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(resize_row);

void map_resize(const MapResizeArgs& args, const ThreadPool& pool) {
  if (args.dtype != DType::f32 && args.dtype != DType::bf16) {
    fail(Error::Code::unsupported, "map_resize: dtype {}; f32 or bf16 is needed", name_of(args.dtype));
  }
  if (args.batch < 0 || args.height < 1 || args.width < 1 || args.out_height < 1 || args.out_width < 1 ||
      args.channels < 1 || args.x_pixel_stride < args.channels || args.y_pixel_stride < args.channels) {
    fail(Error::Code::argument, "map_resize: {} images of {} x {} to {} x {}, {} channels, pixel strides {} and {}",
         args.batch, args.height, args.width, args.out_height, args.out_width, args.channels, args.x_pixel_stride,
         args.y_pixel_stride);
  }
  const auto row = HWY_DYNAMIC_DISPATCH(resize_row);
  pool.for_each(std::int64_t{args.batch} * args.out_height, [&](std::int64_t item, int) { row(args, item); });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
