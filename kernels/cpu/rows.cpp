// Copies of rows by index arithmetic. All three are limited by memory: the work per byte is an address and, for bf16
// output, a conversion.
//
// patches: a task owns a row of patches of one image, so that the `patch` lines of each channel that it reads stay in
// the second-level cache while their patches are written one after the other. The task of a window's first row also
// clears the window's prefix rows.
// windows_to_grid: a task owns a row of patches. gather_rows: a task owns a chunk of output rows.
#include "kernels/rows.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rows.cpp"
// clang-format off
#include "hwy/foreach_target.h"
// clang-format on
#include "hwy/highway.h"
#include "kernels/cpu/bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

// Copies `count` values, converting to T. A run is a patch's width, mostly 14 or 16: the last vector overlaps the one
// before it instead of leaving a scalar tail.
template <typename T>
HWY_INLINE void copy_run(const float* HWY_RESTRICT from, T* HWY_RESTRICT to, int count) {
  const hn::CappedTag<float, 8> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  if (count < lanes) {
    const hn::CappedTag<float, 1> one;
    for (int i = 0; i < count; ++i) store(load(one, from + i), one, to + i);
    return;
  }
  for (int i = 0; i + lanes < count; i += lanes) store(load(d, from + i), d, to + i);
  store(load(d, from + count - lanes), d, to + count - lanes);
}

// Patches of one pixel of three channels, without windows: planes to interleaved pixels.
template <typename T>
void interleave_row(const float* plane0, std::int64_t plane, int width, T* to) {
  const hn::ScalableTag<float> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  HWY_ALIGN float pixels[3 * hn::MaxLanes(d)];
  int x = 0;
  for (; x + lanes <= width; x += lanes) {
    const float* from = plane0 + x;
    const auto red = hn::LoadU(d, from), green = hn::LoadU(d, from + plane), blue = hn::LoadU(d, from + 2 * plane);
    hn::StoreInterleaved3(red, green, blue, d, pixels);
    for (int part = 0; part < 3; ++part) store(hn::Load(d, pixels + part * lanes), d, to + 3 * x + part * lanes);
  }
  const hn::CappedTag<float, 1> one;
  for (; x < width; ++x) {
    for (int channel = 0; channel < 3; ++channel)
      store(load(one, plane0 + channel * plane + x), one, to + 3 * x + channel);
  }
}

template <typename T>
void patch_row(const PatchesArgs& args, std::int64_t batch, int grid_y) {
  const WindowGrid& grid = args.grid;
  const int window_height = grid.height / grid.windows, window_width = grid.width / grid.windows;
  const std::int64_t image_width = std::int64_t{grid.width} * args.patch;
  const std::int64_t plane = image_width * grid.height * args.patch;
  const std::int64_t cols = std::int64_t{args.channels} * args.patch * args.patch;
  const float* pixels = args.pixels + batch * args.channels * plane + grid_y * args.patch * image_width;
  T* image_rows = static_cast<T*>(args.y) + batch * grid.tokens() * cols;
  if (args.patch == 1 && args.channels == 3 && grid.windows == 1 && grid.prefix == 0) {
    return interleave_row(pixels, plane, grid.width, image_rows + std::int64_t{grid_y} * grid.width * cols);
  }

  for (int window_x = 0; window_x < grid.windows; ++window_x) {
    const std::int64_t window = grid_y / window_height * grid.windows + window_x;
    T* window_rows = image_rows + window * grid.window_tokens() * cols;
    if (grid_y % window_height == 0) std::fill_n(window_rows, grid.prefix * cols, T{0});
    T* to = window_rows + (grid.prefix + std::int64_t{grid_y % window_height} * window_width) * cols;
    for (int x = 0; x < window_width; ++x) {
      const float* patch = pixels + (std::int64_t{window_x} * window_width + x) * args.patch;
      for (int channel = 0; channel < args.channels; ++channel) {
        for (int line = 0; line < args.patch; ++line, to += args.patch) {
          copy_run(patch + channel * plane + line * image_width, to, args.patch);
        }
      }
    }
  }
}

void patch_row_f32(const PatchesArgs& args, std::int64_t batch, int grid_y) {
  patch_row<float>(args, batch, grid_y);
}

void patch_row_bf16(const PatchesArgs& args, std::int64_t batch, int grid_y) {
  patch_row<std::uint16_t>(args, batch, grid_y);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(patch_row_f32);
HWY_EXPORT(patch_row_bf16);

namespace {

void check_grid(const char* name, const WindowGrid& grid) {
  if (!grid.is_valid()) {
    fail(Error::Code::argument, "{}: a grid of {} x {} patches with prefix {} cannot be cut into {} x {} windows", name,
         grid.height, grid.width, grid.prefix, grid.windows, grid.windows);
  }
}

std::size_t element_bytes(const char* name, DType dtype) {
  const std::size_t bytes = size_of(dtype);
  if (bytes != 2 && bytes != 4) {
    fail(Error::Code::unsupported, "{}: dtype {} has {} bytes; 2 or 4 are wanted", name, name_of(dtype), bytes);
  }
  return bytes;
}

}  // namespace

void patches(const PatchesArgs& args, const ThreadPool& pool) {
  check_grid("patches", args.grid);
  if (args.batch < 0 || args.channels < 1 || args.patch < 1) {
    fail(Error::Code::argument, "patches: batch {}, channels {}, patch {}", args.batch, args.channels, args.patch);
  }
  if (args.y_dtype != DType::f32 && args.y_dtype != DType::bf16) {
    fail(Error::Code::unsupported, "patches: rows of {}; f32 or bf16 are wanted", name_of(args.y_dtype));
  }
  const auto row =
      args.y_dtype == DType::f32 ? HWY_DYNAMIC_DISPATCH(patch_row_f32) : HWY_DYNAMIC_DISPATCH(patch_row_bf16);
  pool.for_each(std::int64_t{args.batch} * args.grid.height, [&](std::int64_t item, int) {
    row(args, item / args.grid.height, static_cast<int>(item % args.grid.height));
  });
}

void windows_to_grid(const WindowsToGridArgs& args, const ThreadPool& pool) {
  check_grid("windows_to_grid", args.grid);
  const std::size_t element = element_bytes("windows_to_grid", args.dtype);
  if (args.batch < 0 || args.cols < 1 || args.y_row_stride < args.cols) {
    fail(Error::Code::argument, "windows_to_grid: batch {}, cols {}, y_row_stride {}", args.batch, args.cols,
         args.y_row_stride);
  }
  const WindowGrid& grid = args.grid;
  const std::size_t x_row_bytes = args.cols * element, y_row_bytes = args.y_row_stride * element;
  pool.for_each(std::int64_t{args.batch} * grid.height, [&](std::int64_t item, int) {
    for (std::int64_t patch = item * grid.width; patch < (item + 1) * grid.width; ++patch) {
      std::memcpy(static_cast<std::byte*>(args.y) + static_cast<std::size_t>(patch) * y_row_bytes,
                  static_cast<const std::byte*>(args.x) + static_cast<std::size_t>(grid.token_row(patch)) * x_row_bytes,
                  x_row_bytes);
    }
  });
}

void gather_rows(const GatherRowsArgs& args, const ThreadPool& pool) {
  const std::size_t row_bytes = args.cols * element_bytes("gather_rows", args.dtype);
  if (args.batch < 0 || args.x_rows < 1 || args.rows < 0 || args.cols < 1) {
    fail(Error::Code::argument, "gather_rows: batch {}, x_rows {}, rows {}, cols {}", args.batch, args.x_rows,
         args.rows, args.cols);
  }
  const std::int64_t total = std::int64_t{args.batch} * args.rows;
  for (std::int64_t row = 0; row < total; ++row) {
    if (args.index[row] < 0 || args.index[row] >= args.x_rows) {
      fail(Error::Code::argument, "gather_rows: index[{}] is {}; x has {} rows", row, args.index[row], args.x_rows);
    }
  }
  constexpr std::int64_t kChunk = 64;  // rows of a task: some 64 KB, worth waking a thread for
  pool.for_each((total + kChunk - 1) / kChunk, [&](std::int64_t chunk, int) {
    for (std::int64_t row = chunk * kChunk; row < std::min(total, (chunk + 1) * kChunk); ++row) {
      const std::int64_t from = (args.shared ? 0 : row / args.rows * args.x_rows) + args.index[row];
      std::memcpy(static_cast<std::byte*>(args.y) + row * row_bytes,
                  static_cast<const std::byte*>(args.x) + from * row_bytes, row_bytes);
    }
  });
}

}  // namespace vistazo::cpu
#endif
