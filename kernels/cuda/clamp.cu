// In place: a thread owns four adjacent values, or one where they are not aligned. mask_rows: a thread owns a unit of
// up to 16 bytes, and writes those of masked rows only. Limited by memory.
#include "kernels/base/error.h"
#include "kernels/clamp.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kGroup = 4;

template <int kCount>
__global__ void __launch_bounds__(kThreads) clamp_kernel(const __grid_constant__ ClampArgs args) {
  dependent_launch();
  const std::int64_t element = thread_of_grid<kThreads>() * kCount;
  if (element >= args.count) return;
  float values[kCount];
  load_group(values, args.x, element, args.dtype);
#pragma unroll
  for (float& value : values) value = value < args.low ? args.low : value > args.high ? args.high : value;
  store_group(args.x, element, args.dtype, values);
}

struct MaskRowsLaunch {
  MaskRowsArgs args;
  int row_units;
};

template <typename Unit>
__global__ void __launch_bounds__(kThreads) mask_rows_kernel(const __grid_constant__ MaskRowsLaunch launch) {
  dependent_launch();
  const MaskRowsArgs& args = launch.args;
  const std::int64_t unit = thread_of_grid<kThreads>(), row = divide(unit, launch.row_units).quotient;
  if (row >= std::int64_t{args.batch} * args.rows || args.mask[divide(row, args.rows).rest] != 0.0f) return;
  static_cast<Unit*>(args.x)[unit] = Unit{};
}

}  // namespace

void clamp(const ClampArgs& args, CudaStream stream) {
  if (!is_float(args.dtype)) {
    fail(Error::Code::unsupported, "clamp: {}; f32, f16 or bf16 is needed", name_of(args.dtype));
  }
  if (args.count < 0 || !(args.low <= args.high)) {
    fail(Error::Code::argument, "clamp: {} values to {} .. {}", args.count, args.low, args.high);
  }
  if (args.count == 0) return;
  const bool is_grouped = are_groups_aligned(kGroup, args.x, args.count, args.dtype);
  launch("clamp", is_grouped ? clamp_kernel<kGroup> : clamp_kernel<1>,
         ceil_divide(ceil_divide(args.count, is_grouped ? kGroup : 1), kThreads), kThreads, 0, stream, args);
}

void mask_rows(const MaskRowsArgs& args, CudaStream stream) {
  const auto element = static_cast<std::int64_t>(size_of(args.dtype));
  if (element != 2 && element != 4) {
    fail(Error::Code::unsupported, "mask_rows: {} has {} bytes; 2 or 4 are wanted", name_of(args.dtype), element);
  }
  if (args.batch < 0 || args.rows < 1 || args.cols < 1) {
    fail(Error::Code::argument, "mask_rows: batch {}, rows {}, columns {}", args.batch, args.rows, args.cols);
  }
  if (args.batch == 0) return;
  const std::int64_t row_bytes = args.cols * element;
  const auto all = reinterpret_cast<std::uintptr_t>(args.x) | static_cast<std::uintptr_t>(row_bytes);
  const auto start = [&](void (*kernel)(MaskRowsLaunch), int unit_bytes) {
    const MaskRowsLaunch parameters{args, static_cast<int>(row_bytes / unit_bytes)};
    launch("mask_rows", kernel, ceil_divide(std::int64_t{args.batch} * args.rows * parameters.row_units, kThreads),
           kThreads, 0, stream, parameters);
  };
  if (all % 16 == 0) return start(mask_rows_kernel<uint4>, 16);
  if (all % 4 == 0) return start(mask_rows_kernel<std::uint32_t>, 4);
  start(mask_rows_kernel<std::uint16_t>, 2);
}

}  // namespace vistazo::cuda
