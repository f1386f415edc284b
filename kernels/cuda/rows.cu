// Copies of rows by index arithmetic on CUDA, all limited by memory. windows_to_grid and gather_rows are maps of
// copy_rows(). patches: a block owns a token, so that its place is worked out once, and a thread a few adjacent pixels
// of one line of the patch; neighbouring blocks read neighbouring pieces of the same lines. Patches of one pixel, which
// are a change from planes to channels last, get a thread a pixel.
#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/cuda/copy_rows.cuh"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/window_map.cuh"
#include "kernels/rows.h"

namespace vistazo::cuda {
namespace {

constexpr int kMostThreads = 256;  // of a token's block

struct PatchesLaunch {
  PatchesArgs args;
  int token_groups;
};

template <int kCount>
__global__ void __launch_bounds__(kMostThreads) patches_kernel(const __grid_constant__ PatchesLaunch launch) {
  dependent_launch();
  const PatchesArgs& args = launch.args;
  const WindowGrid& grid = args.grid;
  const int window_height = grid.height / grid.windows, window_width = grid.width / grid.windows;
  const int window_tokens = grid.prefix + window_height * window_width;
  const auto [batch, image_token] = divide(blockIdx.x, grid.windows * grid.windows * window_tokens);
  const int window = image_token / window_tokens, place = image_token % window_tokens - grid.prefix;
  const int y = window / grid.windows * window_height + place / window_width;
  const int x = window % grid.windows * window_width + place % window_width;
  const std::int64_t image_width = std::int64_t{grid.width} * args.patch;
  const std::int64_t plane = image_width * grid.height * args.patch;
  const float* patch = args.pixels + batch * args.channels * plane + (y * image_width + x) * args.patch;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * launch.token_groups;
  const int line_groups = args.patch / kCount;
  for (int group = static_cast<int>(threadIdx.x); group < launch.token_groups; group += static_cast<int>(blockDim.x)) {
    const int line = group / line_groups, channel = line / args.patch;
    float values[kCount] = {};
    if (place >= 0) {
      load_group(values, patch + channel * plane + line % args.patch * image_width + group % line_groups * kCount);
    }
    store_group(args.y, (row + group) * kCount, args.y_dtype, values);
  }
}

template <typename T>
__global__ void __launch_bounds__(kMostThreads) pixels_kernel(const __grid_constant__ PatchesArgs args) {
  dependent_launch();
  const int plane = args.grid.height * args.grid.width;
  const std::int64_t pixel = thread_of_grid<kMostThreads>();
  if (pixel >= std::int64_t{args.batch} * plane) return;
  const auto [batch, place] = divide(pixel, plane);
  const float* from = args.pixels + batch * args.channels * plane + place;
  T* to = static_cast<T*>(args.y) + pixel * args.channels;
  for (int channel = 0; channel < args.channels; ++channel, from += plane) to[channel] = from_float<T>(*from);
}

void change_to_channels_last(const PatchesArgs& args, CudaStream stream) {
  const std::int64_t pixels = std::int64_t{args.batch} * args.grid.height * args.grid.width;
  const auto start = [&](void (*kernel)(PatchesArgs)) {
    launch("patches", kernel, ceil_divide(pixels, kMostThreads), kMostThreads, 0, stream, args);
  };
  if (args.y_dtype == DType::f32) return start(pixels_kernel<float>);
  if (args.y_dtype == DType::f16) return start(pixels_kernel<__half>);
  start(pixels_kernel<__nv_bfloat16>);
}

struct GatherMap {
  const std::int32_t* index;
  int rows, x_rows;
  bool shared;

  __device__ std::int64_t operator()(std::int64_t row) const {
    const std::int32_t from = index[row];
    if (from < 0 || from >= x_rows) return -1;
    return shared ? from : divide(row, rows).quotient * x_rows + from;
  }
};

void check_grid(const char* name, const WindowGrid& grid) {
  if (!grid.is_valid()) {
    fail(Error::Code::argument, "{}: a grid of {} x {} patches with prefix {} cannot be cut into {} x {} windows", name,
         grid.height, grid.width, grid.prefix, grid.windows, grid.windows);
  }
}

std::int64_t element_bytes(const char* name, DType dtype) {
  const std::size_t bytes = size_of(dtype);
  if (bytes != 2 && bytes != 4) {
    fail(Error::Code::unsupported, "{}: dtype {} has {} bytes; 2 or 4 are wanted", name, name_of(dtype), bytes);
  }
  return static_cast<std::int64_t>(bytes);
}

}  // namespace

void patches(const PatchesArgs& args, CudaStream stream) {
  check_grid("patches", args.grid);
  if (args.batch < 0 || args.channels < 1 || args.patch < 1) {
    fail(Error::Code::argument, "patches: batch {}, channels {}, patch {}", args.batch, args.channels, args.patch);
  }
  if (!is_float(args.y_dtype)) {
    fail(Error::Code::unsupported, "patches: rows of {}; f32, f16 or bf16 are wanted", name_of(args.y_dtype));
  }
  if (args.batch == 0) return;
  if (args.patch == 1 && args.grid.windows == 1 && args.grid.prefix == 0) return change_to_channels_last(args, stream);
  const auto start = [&](void (*kernel)(PatchesLaunch), int count) {
    const int groups = args.channels * args.patch * args.patch / count;
    launch("patches", kernel, std::int64_t{args.batch} * args.grid.tokens(),
           std::min(kMostThreads, (groups + 31) / 32 * 32), 0, stream, PatchesLaunch{args, groups});
  };
  // Lines of a patch, and so all offsets, are multiples of the group.
  const auto fits = [&](int count) {
    return are_groups_aligned(count, args.pixels, args.patch, DType::f32) &&
           are_groups_aligned(count, args.y, args.patch, args.y_dtype);
  };
  if (fits(8)) return start(patches_kernel<8>, 8);
  if (fits(4)) return start(patches_kernel<4>, 4);
  if (fits(2)) return start(patches_kernel<2>, 2);
  start(patches_kernel<1>, 1);
}

void windows_to_grid(const WindowsToGridArgs& args, CudaStream stream) {
  check_grid("windows_to_grid", args.grid);
  const std::int64_t element = element_bytes("windows_to_grid", args.dtype);
  if (args.batch < 0 || args.cols < 1 || args.y_row_stride < args.cols) {
    fail(Error::Code::argument, "windows_to_grid: batch {}, cols {}, y_row_stride {}", args.batch, args.cols,
         args.y_row_stride);
  }
  const WindowGrid& grid = args.grid;
  copy_rows("windows_to_grid", WindowsToGridMap{grid}, args.x, args.cols * element, args.y, args.y_row_stride * element,
            std::int64_t{args.batch} * grid.height * grid.width, args.cols * element, stream);
}

void gather_rows(const GatherRowsArgs& args, CudaStream stream) {
  const std::int64_t row_bytes = args.cols * element_bytes("gather_rows", args.dtype);
  if (args.batch < 0 || args.x_rows < 1 || args.rows < 0 || args.cols < 1) {
    fail(Error::Code::argument, "gather_rows: batch {}, x_rows {}, rows {}, cols {}", args.batch, args.x_rows,
         args.rows, args.cols);
  }
  copy_rows("gather_rows", GatherMap{args.index, args.rows, args.x_rows, args.shared}, args.x, row_bytes, args.y,
            row_bytes, std::int64_t{args.batch} * args.rows, row_bytes, stream);
}

}  // namespace vistazo::cuda
