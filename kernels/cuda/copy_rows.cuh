#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"

// Copies of rows whose order an index map gives: a thread owns the largest unit, 16 bytes at most, that all rows
// consist of and are aligned to. Limited by memory, and by the map's divisions where units are small.
namespace vistazo::cuda {

template <typename Map>
struct CopyRowsLaunch {
  const std::byte* x;
  std::byte* y;
  std::int64_t rows;          // of y
  std::int64_t x_row, y_row;  // bytes from one row to the next
  int row_units;
  Map map;
};

constexpr int kCopyThreads = 256;

template <typename Unit, typename Map>
__global__ void __launch_bounds__(kCopyThreads) copy_rows_kernel(const __grid_constant__ CopyRowsLaunch<Map> launch) {
  dependent_launch();
  const auto [row, unit] = divide(thread_of_grid<kCopyThreads>(), launch.row_units);
  if (row >= launch.rows) return;
  const std::int64_t source = launch.map(row);
  Unit value{};
  if (source >= 0) value = reinterpret_cast<const Unit*>(launch.x + source * launch.x_row)[unit];
  reinterpret_cast<Unit*>(launch.y + row * launch.y_row)[unit] = value;
}

// map(row of y) is the row of x that it copies, or negative for zeros. row_bytes of each row are copied, a multiple of
// 2; strides are in bytes.
template <typename Map>
void copy_rows(const char* name, const Map& map, const void* x, std::int64_t x_row, void* y, std::int64_t y_row,
               std::int64_t rows, std::int64_t row_bytes, CudaStream stream) {
  if (rows == 0) return;
  CopyRowsLaunch<Map> parameters{
      static_cast<const std::byte*>(x), static_cast<std::byte*>(y), rows, x_row, y_row, 0, map};
  const auto all = reinterpret_cast<std::uintptr_t>(x) | reinterpret_cast<std::uintptr_t>(y) |
                   static_cast<std::uintptr_t>(x_row | y_row | row_bytes);
  const auto start = [&](void (*kernel)(CopyRowsLaunch<Map>), int unit_bytes) {
    parameters.row_units = static_cast<int>(row_bytes / unit_bytes);
    launch(name, kernel, ceil_divide(rows * parameters.row_units, kCopyThreads), kCopyThreads, 0, stream, parameters);
  };
  if (all % 16 == 0) return start(copy_rows_kernel<uint4, Map>, 16);
  if (all % 4 == 0) return start(copy_rows_kernel<std::uint32_t, Map>, 4);
  start(copy_rows_kernel<std::uint16_t, Map>, 2);
}

}  // namespace vistazo::cuda
