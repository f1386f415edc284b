// Convolutions that read an image as preprocessing leaves it, planes of f32, so that no pass changes it to channels
// last; f16 and bf16, whose products are rounded as if one had.
//
// A block owns 32 pixels by 8 or 16 lines of y and 32 output channels. The planes' part that it reads comes to shared
// memory as it is. A warp owns every fourth line: left operands (16 pixels, by all of at most 32 products of a sum) are
// gathered element by element, for three channels are no 16 bytes, and multiplied by mma.sync with a weight that stays
// in registers. The weight's columns are in an order that gives a lane eight neighbouring channels of a pixel, which it
// writes in 16 bytes. Limited by writing y, and for one image by latency.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/direct_convolution.h"
#include "kernels/cuda/dynamic_shared.cuh"
#include "kernels/cuda/gemm/epilogue.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/mma.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kTileWidth = 32;                 // pixels of y
constexpr int kDepth = 32, kSteps = 2;         // products of a sum, and how many of 16 they are
constexpr int kColumns = 32, kGroup = 8;       // channels of a block, and of a lane
constexpr int kTables = kDepth * sizeof(int);  // bytes in front of the planes

struct PlanarLaunch {
  Gemm gemm;
  int tile_height, tile_lines, tile_columns;  // lines of y in a tile; tiles along the sides of an image
  int column_groups;
  int in_height, line_words, plane_words;  // of the planes' part in shared memory
  int shift;                               // columns in front of a line's first, which make it start at 16 bytes
  bool is_x_grouped, are_groups_stored;
};

template <typename T>
__device__ void multiply(float (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<T, __half>) {
    ptx::mma_m16n8k16_f32_f16(sums, a, b[0], b[1]);
  } else {
    ptx::mma_m16n8k16_f32_bf16(sums, a, b[0], b[1]);
  }
}

// The lane's part of the right operands: column 8 j + lane / 4 of the products is channel_of() of y.
template <typename T>
__device__ void load_weight(std::uint32_t (&b)[kSteps][4][2], const Gemm& gemm, int first_column) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int row = lane / 4, column = first_column + row / 2 * kGroup + 2 * j + row % 2;
    const T* const weight = static_cast<const T*>(gemm.weight) + static_cast<std::int64_t>(column) * gemm.weight_stride;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int k = 16 * step + 8 * half + lane % 4 * 2;
        const bool is_inside = column < gemm.columns && k < gemm.weight_stride;
        b[step][j][half] = is_inside ? *reinterpret_cast<const std::uint32_t*>(weight + k) : 0;
      }
    }
  }
}

// Where product k of a sum lies, from its first one on; those behind the last have no weight.
__device__ int offset_of(const PlanarLaunch& launch, int k) {
  const Gemm& gemm = launch.gemm;
  if (k >= gemm.depth) return 0;
  const int tap = k / gemm.channels, channel = k - tap * gemm.channels, tap_y = tap / gemm.kernel_width;
  return channel * launch.plane_words + tap_y * launch.line_words + tap - tap_y * gemm.kernel_width;
}

// A warp copies every fourth line of a plane.
__device__ void copy_planes(const PlanarLaunch& launch, int image, int first_line, int first_column, float* planes) {
  const Gemm& gemm = launch.gemm;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const float* const x = static_cast<const float*>(gemm.x);
  for (int channel = 0; channel < gemm.channels; ++channel) {
    const std::int64_t plane = (static_cast<std::int64_t>(image) * gemm.channels + channel) * gemm.height * gemm.width;
    for (int line = warp; line < launch.in_height; line += kWarps) {
      const bool is_line_inside = static_cast<unsigned>(first_line + line) < static_cast<unsigned>(gemm.height);
      const float* const from = x + plane + static_cast<std::int64_t>(first_line + line) * gemm.width + first_column;
      float* const to = planes + channel * launch.plane_words + line * launch.line_words;
      const int count = launch.is_x_grouped ? 4 : 1;
      for (int column = lane * count; column < launch.line_words; column += 32 * count) {
        const bool is_inside =
            is_line_inside && static_cast<unsigned>(first_column + column) < static_cast<unsigned>(gemm.width);
        if (launch.is_x_grouped) {  // a group is inside or outside as a whole
          ptx::cp_async_cg_16(to + column, is_inside ? from + column : x, is_inside ? 16 : 0);
        } else {
          ptx::cp_async_ca_4(to + column, is_inside ? from + column : x, is_inside ? 4 : 0);
        }
      }
    }
  }
}

// Pixels g and g + 8 of sixteen; `row` and `column` are of the first in y.
template <typename Y>
__device__ void finish_pixels(const PlanarLaunch& launch, float (&sums)[4][4], const float (&bias)[kGroup],
                              std::int64_t row, int x, int column) {
  const Gemm& gemm = launch.gemm;
  float values[2][kGroup];
  Y* const y = static_cast<Y*>(gemm.y) + row * gemm.y_stride + column;
#pragma unroll
  for (int p = 0; p < 2; ++p) {
    const int left = x + 8 * p < gemm.out_width ? gemm.columns - column : 0;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) values[p][i] = sums[i / 2][2 * p + i % 2] + bias[i];
    if (gemm.accumulate && left > 0) add_columns(values[p], y + 8 * p * gemm.y_stride, left, launch.are_groups_stored);
  }
  activate_all<Y>(values, gemm.activation);
#pragma unroll
  for (int p = 0; p < 2; ++p) {
    const int left = x + 8 * p < gemm.out_width ? gemm.columns - column : 0;
    scale_all(gemm, values[p]);
    if (left > 0) store_columns(y + 8 * p * gemm.y_stride, values[p], left, launch.are_groups_stored);
  }
}

template <typename T, typename Y>
__global__ void __launch_bounds__(kThreads) planar_kernel(const __grid_constant__ PlanarLaunch launch) {
  const Gemm& gemm = launch.gemm;
  int* const offsets = reinterpret_cast<int*>(dynamic_shared());
  float* const planes = reinterpret_cast<float*>(dynamic_shared() + kTables);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int first_channel = static_cast<int>(blockIdx.x) % launch.column_groups * kColumns;
  const int tile = static_cast<int>(blockIdx.x) / launch.column_groups, tile_row = tile / launch.tile_columns;
  const int image = tile_row / launch.tile_lines;
  const int first_line = (tile_row - image * launch.tile_lines) * launch.tile_height;
  const int first_column = (tile - tile_row * launch.tile_columns) * kTileWidth;

  // Nothing in front of the kernel writes weights.
  std::uint32_t b[kSteps][4][2];
  load_weight<T>(b, gemm, first_channel);
  const int channel = first_channel + lane % 4 * kGroup;
  float bias[kGroup];
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    bias[i] = gemm.bias != nullptr && channel + i < gemm.columns ? gemm.bias[channel + i] : 0.0f;
  }
  if (thread < kDepth) offsets[thread] = offset_of(launch, thread);
  dependent_launch();
  copy_planes(launch, image, first_line * gemm.stride - gemm.padding,
              first_column * gemm.stride - gemm.padding - launch.shift, planes);
  ptx::cp_async_wait_all();
  __syncthreads();

  int offset[kSteps][4];  // of the lane's elements of a row
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) offset[step][i] = offsets[16 * step + i / 2 * 8 + lane % 4 * 2 + i % 2];
  }
  for (int line = warp; line < launch.tile_height && first_line + line < gemm.out_height; line += kWarps) {
    const std::int64_t row = (static_cast<std::int64_t>(image) * gemm.out_height + first_line + line) * gemm.out_width;
#pragma unroll
    for (int part = 0; part < kTileWidth / 16; ++part) {
      const int moved = part * 16 + lane / 4, x = first_column + moved;
      const float* const pixel = planes + line * gemm.stride * launch.line_words + moved * gemm.stride + launch.shift;
      const float* const other = pixel + 8 * gemm.stride;
      float sums[4][4] = {};
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const auto& o = offset[step];
        const std::uint32_t a[4] = {pack<T>(pixel[o[0]], pixel[o[1]]), pack<T>(other[o[0]], other[o[1]]),
                                    pack<T>(pixel[o[2]], pixel[o[3]]), pack<T>(other[o[2]], other[o[3]])};
#pragma unroll
        for (int j = 0; j < 4; ++j) multiply<T>(sums[j], a, b[step][j]);
      }
      finish_pixels<Y>(launch, sums, bias, row + x, x, channel);
    }
  }
}

std::size_t set_tile(PlanarLaunch& parameters, int height) {
  const Gemm& gemm = parameters.gemm;
  parameters.tile_height = height;
  parameters.tile_lines = static_cast<int>(ceil_divide(gemm.out_height, height));
  parameters.tile_columns = static_cast<int>(ceil_divide(gemm.out_width, kTileWidth));
  parameters.column_groups = static_cast<int>(ceil_divide(gemm.columns, kColumns));
  parameters.in_height = (height - 1) * gemm.stride + gemm.kernel_height;
  // A tile's first column is a multiple of 4, less the padding.
  parameters.shift = (4 - gemm.padding % 4) % 4;
  const int in_width = parameters.shift + (kTileWidth - 1) * gemm.stride + gemm.kernel_width;
  parameters.line_words = static_cast<int>(ceil_divide(in_width, 4)) * 4;
  // A quarter of the banks from one plane to the next.
  parameters.plane_words = static_cast<int>(ceil_divide(parameters.in_height * parameters.line_words - 8, 32)) * 32 + 8;
  return kTables + static_cast<std::size_t>(gemm.channels) * static_cast<std::size_t>(parameters.plane_words) * 4;
}

constexpr std::size_t kMostBytes = 48 << 10;  // of shared memory: several blocks on a multiprocessor

}  // namespace

bool is_planar_product(const Gemm& gemm) {
  PlanarLaunch parameters{};
  parameters.gemm = gemm;
  return gemm.dtype != DType::f32 && gemm.groups == 1 && gemm.depth <= kDepth && set_tile(parameters, 8) <= kMostBytes;
}

void planar_convolution(const Gemm& gemm, CudaStream stream) {
  PlanarLaunch parameters{};
  parameters.gemm = gemm;
  parameters.is_x_grouped = gemm.width % 4 == 0 && reinterpret_cast<std::uintptr_t>(gemm.x) % 16 == 0;
  parameters.are_groups_stored = are_groups_stored(gemm, kGroup);
  std::size_t bytes = set_tile(parameters, 8);
  const auto tiles = [&] {
    return std::int64_t{gemm.batch} * parameters.tile_lines * parameters.tile_columns * parameters.column_groups;
  };
  constexpr std::int64_t kManyTiles = 1024;  // enough to fill the chip with larger ones
  if (tiles() >= kManyTiles) {
    PlanarLaunch larger = parameters;
    const std::size_t larger_bytes = set_tile(larger, 16);
    if (larger_bytes <= kMostBytes) {
      parameters = larger;
      bytes = larger_bytes;
    }
  }
  const auto start = [&](void (*kernel)(PlanarLaunch)) {
    launch("convolution", kernel, tiles(), kThreads, bytes, stream, parameters);
  };
  const bool is_f32 = gemm.y_dtype == DType::f32;
  if (gemm.dtype == DType::f16) return start(is_f32 ? planar_kernel<__half, float> : planar_kernel<__half, __half>);
  start(is_f32 ? planar_kernel<__nv_bfloat16, float> : planar_kernel<__nv_bfloat16, __nv_bfloat16>);
}

}  // namespace vistazo::cuda
