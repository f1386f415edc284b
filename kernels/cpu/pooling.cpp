// Pooling of feature maps. A task owns a row of one image's result; for each of its cells it goes through the window
// once for every vector of channels. Limited by memory: the rows of a window stay in the first-level cache.
#include "kernels/pooling.h"

#include <algorithm>
#include <limits>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/pooling.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

// The cells of the map that a window covers, and how many zeros beyond its end it covers besides.
struct Cells {
  int top, bottom, left, right;  // rows [top, bottom), columns [left, right)
  int count;                     // of cells and zeros

  Cells(const PoolingArgs& args, int i, int j) {
    const PoolingWindow& w = args.window;
    const int first_row = i * w.stride - w.padding, first_col = j * w.stride - w.padding;
    top = std::max(first_row, 0), left = std::max(first_col, 0);
    bottom = std::min(first_row + w.height, args.height), right = std::min(first_col + w.width, args.width);
    const int rows = std::min(first_row + w.height, args.height + w.end_zeros) - top;
    const int cols = std::min(first_col + w.width, args.width + w.end_zeros) - left;
    count = rows * cols;
  }
  bool has_zeros() const { return count > std::max(bottom - top, 0) * std::max(right - left, 0); }
};

// One vector of channels, which load_pixel() reads.
template <Pooling kKind, class D, typename T, typename Load>
HWY_INLINE hn::Vec<D> pool_cells(D d, const PoolingArgs& args, const Cells& cells, const T* image, Load&& load_pixel) {
  constexpr bool kIsMax = kKind == Pooling::max;
  constexpr float kLeast = -std::numeric_limits<float>::infinity();
  auto result = hn::Set(d, kIsMax && !cells.has_zeros() ? kLeast : 0.0f);
  for (int row = cells.top; row < cells.bottom; ++row) {
    const T* pixel = image + (static_cast<std::int64_t>(row) * args.width + cells.left) * args.x_pixel_stride;
    for (int col = cells.left; col < cells.right; ++col, pixel += args.x_pixel_stride) {
      result = kIsMax ? hn::Max(result, load_pixel(pixel)) : hn::Add(result, load_pixel(pixel));
    }
  }
  return kIsMax ? result : hn::Mul(result, hn::Set(d, 1.0f / static_cast<float>(cells.count)));
}

template <Pooling kKind, typename T>
void pool_row(const PoolingArgs& args, std::int64_t item) {
  const hn::ScalableTag<float> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const int out_height = args.window.out_height(args.height), out_width = args.window.out_width(args.width);
  const int i = static_cast<int>(item % out_height);
  const T* image = static_cast<const T*>(args.x) + item / out_height * args.height * args.width * args.x_pixel_stride;
  T* y = static_cast<T*>(args.y) + item * out_width * args.y_pixel_stride;
  for (int j = 0; j < out_width; ++j, y += args.y_pixel_stride) {
    const Cells cells(args, i, j);
    int c = 0;
    for (; c + lanes <= args.channels; c += lanes) {
      store(pool_cells<kKind>(d, args, cells, image, [&](const T* pixel) { return load(d, pixel + c); }), d, y + c);
    }
    if (c == args.channels) continue;
    const auto rest = static_cast<std::size_t>(args.channels - c);
    const auto load_rest = [&](const T* pixel) { return load_some(d, pixel + c, rest); };
    store_some(pool_cells<kKind>(d, args, cells, image, load_rest), d, y + c, rest);
  }
}

using PoolRow = void (*)(const PoolingArgs&, std::int64_t);

PoolRow choose_pool_row(Pooling kind, DType dtype) {
  if (dtype == DType::f32)
    return kind == Pooling::max ? pool_row<Pooling::max, float> : pool_row<Pooling::average, float>;
  return kind == Pooling::max ? pool_row<Pooling::max, std::uint16_t> : pool_row<Pooling::average, std::uint16_t>;
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(choose_pool_row);

void pooling(const PoolingArgs& args, const ThreadPool& pool) {
  if (args.dtype != DType::f32 && args.dtype != DType::bf16) {
    fail(Error::Code::unsupported, "pooling: dtype {}; f32 or bf16 is needed", name_of(args.dtype));
  }
  const PoolingWindow& w = args.window;
  if (args.batch < 0 || args.height < 1 || args.width < 1 || args.channels < 1 || args.x_pixel_stride < args.channels ||
      args.y_pixel_stride < args.channels) {
    fail(Error::Code::argument, "pooling: {} images of {} x {}, {} channels, pixel strides {} and {}", args.batch,
         args.height, args.width, args.channels, args.x_pixel_stride, args.y_pixel_stride);
  }
  // With padding below the window's size, and no zeros beyond, every window covers a cell.
  if (w.height < 1 || w.width < 1 || w.stride < 1 || w.padding < 0 || w.end_zeros < 0 ||
      w.padding >= std::min(w.height, w.width) || w.out_height(args.height) < 1 || w.out_width(args.width) < 1) {
    fail(Error::Code::argument, "pooling: a window of {} x {}, stride {}, padding {}, {} zeros, on a map of {} x {}",
         w.height, w.width, w.stride, w.padding, w.end_zeros, args.height, args.width);
  }
  const auto row = HWY_DYNAMIC_DISPATCH(choose_pool_row)(args.kind, args.dtype);
  pool.for_each(std::int64_t{args.batch} * w.out_height(args.height), [&](std::int64_t item, int) { row(args, item); });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
