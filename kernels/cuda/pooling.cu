// A thread owns eight or four adjacent channels of a pixel of the result, or one where they are not aligned, and goes
// through the window. Limited by memory; a window's other cells come from a cache.
#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"
#include "kernels/pooling.h"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBlocks = 8;  // on a multiprocessor: 64 registers a thread, so that none spill

struct PoolingLaunch {
  PoolingArgs args;
  int pixel_groups, out_height, out_width;
};

template <int kCount>
__global__ void __launch_bounds__(kThreads, kBlocks) pooling_kernel(const __grid_constant__ PoolingLaunch launch) {
  dependent_launch();
  const PoolingArgs& args = launch.args;
  const PoolingWindow& window = args.window;
  const auto [pixel, group] = divide(thread_of_grid<kThreads>(), launch.pixel_groups);
  const auto [line, j] = divide(pixel, launch.out_width);
  const auto [image, i] = divide(line, launch.out_height);
  if (image >= args.batch) return;
  const int first_row = i * window.stride - window.padding, first_col = j * window.stride - window.padding;
  const int top = max(first_row, 0), bottom = min(first_row + window.height, args.height);
  const int left = max(first_col, 0), right = min(first_col + window.width, args.width);
  // Cells of the map, and zeros beyond its end.
  const int count = (min(first_row + window.height, args.height + window.end_zeros) - top) *
                    (min(first_col + window.width, args.width + window.end_zeros) - left);
  const bool is_max = args.kind == Pooling::max;
  const bool has_zeros = count > max(bottom - top, 0) * max(right - left, 0);

  float result[kCount];
#pragma unroll
  for (int c = 0; c < kCount; ++c) result[c] = is_max && !has_zeros ? -kInfinity : 0.0f;
  for (int row = top; row < bottom; ++row) {
    for (int col = left; col < right; ++col) {
      float values[kCount];
      const std::int64_t cell = (image * args.height + row) * args.width + col;
      load_group(values, args.x, cell * args.x_pixel_stride + group * kCount, args.dtype);
#pragma unroll
      for (int c = 0; c < kCount; ++c) {
        if (is_max) {
          result[c] = values[c] > result[c] || values[c] != values[c] ? values[c] : result[c];  // a NaN stays
        } else {
          result[c] += values[c];
        }
      }
    }
  }
  const float factor = is_max ? 1.0f : 1.0f / static_cast<float>(count);
#pragma unroll
  for (int c = 0; c < kCount; ++c) result[c] *= factor;
  store_group(args.y, pixel * args.y_pixel_stride + group * kCount, args.dtype, result);
}

void check(const PoolingArgs& args) {
  if (!is_float(args.dtype)) {
    fail(Error::Code::unsupported, "pooling: dtype {}; f32, f16 or bf16 is needed", name_of(args.dtype));
  }
  const PoolingWindow& w = args.window;
  if (args.batch < 0 || args.height < 1 || args.width < 1 || args.channels < 1 || args.x_pixel_stride < args.channels ||
      args.y_pixel_stride < args.channels) {
    fail(Error::Code::argument, "pooling: {} images of {} x {}, {} channels, pixel strides {} and {}", args.batch,
         args.height, args.width, args.channels, args.x_pixel_stride, args.y_pixel_stride);
  }
  if (w.height < 1 || w.width < 1 || w.stride < 1 || w.padding < 0 || w.end_zeros < 0 ||
      w.padding >= std::min(w.height, w.width) || w.out_height(args.height) < 1 || w.out_width(args.width) < 1) {
    fail(Error::Code::argument, "pooling: a window of {} x {}, stride {}, padding {}, {} zeros, on a map of {} x {}",
         w.height, w.width, w.stride, w.padding, w.end_zeros, args.height, args.width);
  }
}

}  // namespace

void pooling(const PoolingArgs& args, CudaStream stream) {
  check(args);
  if (args.batch == 0) return;
  PoolingLaunch parameters{args, 0, args.window.out_height(args.height), args.window.out_width(args.width)};
  const std::int64_t pixels = std::int64_t{args.batch} * parameters.out_height * parameters.out_width;
  const int count = choose_group(pixels * args.channels, [&](int size) {
    return args.channels % size == 0 && are_groups_aligned(size, args.x, args.x_pixel_stride, args.dtype) &&
           are_groups_aligned(size, args.y, args.y_pixel_stride, args.dtype);
  });
  parameters.pixel_groups = args.channels / count;
  launch("pooling",
         count == 8   ? pooling_kernel<8>
         : count == 4 ? pooling_kernel<4>
                      : pooling_kernel<1>,
         ceil_divide(pixels * parameters.pixel_groups, kThreads), kThreads, 0, stream, parameters);
}

}  // namespace vistazo::cuda
