// A thread owns eight or four adjacent channels of a pixel of the result, or one where they are not aligned. Limited by
// memory; neighbours' cells come from a cache.
#include "kernels/base/error.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/map_resize.h"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;

struct MapResizeLaunch {
  MapResizeArgs args;
  int pixel_groups;
  float row_scale, col_scale;  // input cells per output cell
};

// The two cells around a position of the result along one axis.
struct Neighbours {
  int first, second;
  float share;  // of the second

  __device__ Neighbours(int position, int size, float scale) {
    const float source = fmaxf(fmaf(static_cast<float>(position) + 0.5f, scale, -0.5f), 0.0f);
    first = min(static_cast<int>(source), size - 1);
    second = min(first + 1, size - 1);
    share = source - static_cast<float>(first);
  }
};

template <int kCount>
__global__ void __launch_bounds__(kThreads) map_resize_kernel(const __grid_constant__ MapResizeLaunch launch) {
  dependent_launch();
  const MapResizeArgs& args = launch.args;
  const auto [pixel, group] = divide(thread_of_grid<kThreads>(), launch.pixel_groups);
  const auto [line, j] = divide(pixel, args.out_width);
  const auto [image, i] = divide(line, args.out_height);
  if (image >= args.batch) return;
  const auto load_cell = [&](float(&values)[kCount], int row, int col) {
    const std::int64_t cell = (image * args.height + row) * args.width + col;
    load_group(values, args.x, cell * args.x_pixel_stride + group * kCount, args.dtype);
  };
  float result[kCount];
  if (args.interpolation == MapInterpolation::nearest) {
    load_cell(result, static_cast<int>(divide(std::int64_t{i} * args.height, args.out_height).quotient),
              static_cast<int>(divide(std::int64_t{j} * args.width, args.out_width).quotient));
  } else {
    const Neighbours rows(i, args.height, launch.row_scale), cols(j, args.width, launch.col_scale);
    float upper_left[kCount], upper_right[kCount], lower_left[kCount], lower_right[kCount];
    load_cell(upper_left, rows.first, cols.first);
    load_cell(upper_right, rows.first, cols.second);
    load_cell(lower_left, rows.second, cols.first);
    load_cell(lower_right, rows.second, cols.second);
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      const float top = fmaf(upper_right[c], cols.share, upper_left[c] * (1.0f - cols.share));
      const float bottom = fmaf(lower_right[c], cols.share, lower_left[c] * (1.0f - cols.share));
      result[c] = fmaf(bottom, rows.share, top * (1.0f - rows.share));
    }
  }
  store_group(args.y, pixel * args.y_pixel_stride + group * kCount, args.dtype, result);
}

}  // namespace

void map_resize(const MapResizeArgs& args, CudaStream stream) {
  if (!is_float(args.dtype)) {
    fail(Error::Code::unsupported, "map_resize: dtype {}; f32, f16 or bf16 is needed", name_of(args.dtype));
  }
  if (args.batch < 0 || args.height < 1 || args.width < 1 || args.out_height < 1 || args.out_width < 1 ||
      args.channels < 1 || args.x_pixel_stride < args.channels || args.y_pixel_stride < args.channels) {
    fail(Error::Code::argument, "map_resize: {} images of {} x {} to {} x {}, {} channels, pixel strides {} and {}",
         args.batch, args.height, args.width, args.out_height, args.out_width, args.channels, args.x_pixel_stride,
         args.y_pixel_stride);
  }
  if (args.batch == 0) return;
  const std::int64_t pixels = std::int64_t{args.batch} * args.out_height * args.out_width;
  const int count = choose_group(pixels * args.channels, [&](int size) {
    return args.channels % size == 0 && are_groups_aligned(size, args.x, args.x_pixel_stride, args.dtype) &&
           are_groups_aligned(size, args.y, args.y_pixel_stride, args.dtype);
  });
  const MapResizeLaunch parameters{args, args.channels / count,
                                   static_cast<float>(args.height) / static_cast<float>(args.out_height),
                                   static_cast<float>(args.width) / static_cast<float>(args.out_width)};
  launch("map_resize",
         count == 8   ? map_resize_kernel<8>
         : count == 4 ? map_resize_kernel<4>
                      : map_resize_kernel<1>,
         ceil_divide(pixels * parameters.pixel_groups, kThreads), kThreads, 0, stream, parameters);
}

}  // namespace vistazo::cuda
