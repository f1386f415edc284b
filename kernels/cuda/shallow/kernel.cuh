#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/dynamic_shared.cuh"
#include "kernels/cuda/gemm/epilogue.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/bar_sync.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/ldmatrix.cuh"
#include "kernels/cuda/ptx/mbarrier.cuh"
#include "kernels/cuda/shallow/shallow.h"

// What the instruction sets share: a block for each multiprocessor keeps the weight of up to 64 output channels in
// shared memory and goes through tiles of the image in strides of the grid. It has two groups of four warps, which
// share nothing but the weight: while one waits or writes, the other multiplies.
//
// A group's tile is 16 pixels by 16 or 8 lines of y. The pixels that it reads, with their halo, come by cp.async, one
// unit of 16 or 32 channels while the one before is multiplied. A warp owns neighbouring lines: a left operand (16
// pixels of a line of x, moved by a tap's column, of 16 channels) is read once and multiplied with the taps of all
// three rows, for the lines of y that they lead to.
//
// The weight's rows are in an order that gives a lane eight neighbouring channels of a pixel: results go from
// registers to y in 16 bytes, and four lanes fill 64.
namespace vistazo::cuda {

constexpr int kGroupThreads = 128, kGroups = 2, kShallowThreads = kGroups * kGroupThreads;
constexpr int kTaps = 9, kSide = 3;
constexpr int kTileWidth = 16;     // pixels: the rows of a left operand
constexpr int kAlignment = 1024;   // of swizzled rows in shared memory
constexpr int kChunkChannels = 8;  // of 16 bytes

template <int kStride_, int kLines_, int kUnit_, int kColumns_>
struct ShallowTile {
  static constexpr int kStride = kStride_, kLines = kLines_, kUnit = kUnit_, kColumns = kColumns_;
  static constexpr int kHeight = 4 * kLines;
  static constexpr int kInWidth = (kTileWidth - 1) * kStride + kSide, kInHeight = (kHeight - 1) * kStride + kSide;
  static constexpr int kWarpInLines = (kLines - 1) * kStride + kSide;
  static constexpr int kChunks = kUnit / kChunkChannels;
  // An odd number of chunks from a pixel to the next: eight neighbours, which ldmatrix reads, meet all banks.
  static constexpr int kPixelBytes = 2 * kUnit + 16;
  static constexpr int kStageBytes = kInWidth * kInHeight * kPixelBytes;
  static constexpr int kRowBytes = 2 * kUnit;  // of the weight: an output channel's, of a unit and a tap
  static constexpr int kPanelBytes = kColumns * kRowBytes;

  static constexpr std::size_t shared_bytes(int units) {
    return kAlignment + static_cast<std::size_t>(units) * kTaps * kPanelBytes + kColumns * sizeof(float) +
           2 * kGroups * kStageBytes;
  }
  // Where column `column` of a line of pixels lies: with stride 2 the even ones first, so that the neighbours that a
  // tap meets are neighbours in shared memory as well.
  __device__ static constexpr int slot_of(int column) {
    return kStride == 1 ? column : column % 2 * ((kInWidth + 1) / 2) + column / 2;
  }
};

// The weight's rows are swizzled as the copy engine would: chunks of a row change places by its number.
template <int kRowBytes>
__device__ constexpr int swizzled_chunk(int row, int chunk) {
  return chunk ^ (row * kRowBytes / 128 % (kRowBytes / 16));
}

// The channel of y that row `row` of the weight in shared memory belongs to. Of a product's columns 8 j + 2 t + e, lane
// t has two for each j: four j make eight neighbours.
__device__ constexpr int channel_of(int row) {
  return row / 32 * 32 + row % 8 / 2 * 8 + row / 8 % 4 * 2 + row % 2;
}

template <typename Tile>
struct ShallowShared {
  unsigned char *weight, *stages;
  float* bias;

  __device__ explicit ShallowShared(int units) {
    unsigned char* const bytes = dynamic_shared();
    weight = bytes + (kAlignment - ptx::shared_address(bytes) % kAlignment) % kAlignment;
    stages = weight + units * kTaps * Tile::kPanelBytes;
    bias = reinterpret_cast<float*>(stages + 2 * kGroups * Tile::kStageBytes);
  }
  __device__ unsigned char* stage(int group, int i) const { return stages + (2 * group + i) * Tile::kStageBytes; }
};

// Panels in the order (unit, tap); zero where there are no channels. Nothing in front of the kernel writes a weight.
template <typename T, typename Tile>
__device__ void copy_weight(const ShallowLaunch& launch, int first_column, const ShallowShared<Tile>& shared) {
  const Gemm& gemm = launch.gemm;
  const T* const weight = static_cast<const T*>(gemm.weight);
  const int chunks = launch.units * kTaps * Tile::kColumns * Tile::kChunks;
  for (int i = static_cast<int>(threadIdx.x); i < chunks; i += kShallowThreads) {
    const int chunk = i % Tile::kChunks, row = i / Tile::kChunks % Tile::kColumns;
    const int panel = i / Tile::kChunks / Tile::kColumns, unit = panel / kTaps, tap = panel - unit * kTaps;
    const int channel = unit * Tile::kUnit + chunk * kChunkChannels, column = first_column + channel_of(row);
    const bool is_inside = channel < gemm.channels && column < gemm.columns;
    const T* const from = weight + static_cast<std::int64_t>(column) * gemm.weight_stride + tap * gemm.channels;
    ptx::cp_async_cg_16(shared.weight + panel * Tile::kPanelBytes + row * Tile::kRowBytes +
                            swizzled_chunk<Tile::kRowBytes>(row, chunk) * 16,
                        is_inside ? from + channel : weight, is_inside ? 16 : 0);
  }
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kColumns; i += kShallowThreads) {
    const int column = first_column + i;
    shared.bias[i] = gemm.bias != nullptr && column < gemm.columns ? gemm.bias[column] : 0.0f;
  }
}

// The first pixel of y that a tile owns.
struct TilePlace {
  int image, line, column;
};

template <typename Tile>
__device__ TilePlace place_of(const ShallowLaunch& launch, int tile) {
  const int row = tile / launch.tile_columns, image = row / launch.tile_lines;
  return {image, (row - image * launch.tile_lines) * Tile::kHeight, (tile - row * launch.tile_columns) * kTileWidth};
}

// Starts copying the pixels that a tile reads, of one unit of channels; zeros outside of the image.
template <typename T, typename Tile>
__device__ void copy_pixels(const Gemm& gemm, const TilePlace& place, int unit, unsigned char* stage) {
  constexpr int kPixels = Tile::kInWidth * Tile::kInHeight, kStep = kGroupThreads / Tile::kChunks;
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads, chunk = thread % Tile::kChunks;
  const int channel = unit * Tile::kUnit + chunk * kChunkChannels;
  const int first_line = place.line * Tile::kStride - gemm.padding;
  const int first_column = place.column * Tile::kStride - gemm.padding;
  const T* const x = static_cast<const T*>(gemm.x);
  const T* const image =
      x + static_cast<std::int64_t>(place.image) * gemm.height * gemm.width * gemm.x_stride + channel;
#pragma unroll 4
  for (int pixel = thread / Tile::kChunks; pixel < kPixels; pixel += kStep) {
    const int line = pixel / Tile::kInWidth, column = pixel - line * Tile::kInWidth;
    const int from_line = first_line + line, from_column = first_column + column;
    const bool is_inside = channel < gemm.channels &&
                           static_cast<unsigned>(from_line) < static_cast<unsigned>(gemm.height) &&
                           static_cast<unsigned>(from_column) < static_cast<unsigned>(gemm.width);
    const std::int64_t from = static_cast<std::int64_t>(from_line * gemm.width + from_column) * gemm.x_stride;
    ptx::cp_async_cg_16(stage + (line * Tile::kInWidth + Tile::slot_of(column)) * Tile::kPixelBytes + chunk * 16,
                        is_inside ? image + from : x, is_inside ? 16 : 0);
  }
}

// A warp's left operands of a tap's column and 16 channels (chunks 2 k and 2 k + 1): a line of x each. `lane_pixels`
// is where the lane's share of the first begins.
template <typename Tile>
__device__ const unsigned char* lane_pixels_of(const unsigned char* stage) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) % kGroupThreads / 32;
  const int line = warp * Tile::kLines * Tile::kStride;
  return stage + (line * Tile::kInWidth + lane % 16) * Tile::kPixelBytes + lane / 16 * 16;
}
template <typename Tile>
__device__ void load_pixels(std::uint32_t (&a)[Tile::kWarpInLines][4], const unsigned char* lane_pixels, int tap_column,
                            int k) {
#pragma unroll
  for (int line = 0; line < Tile::kWarpInLines; ++line) {
    ptx::ldmatrix_x4(a[line],
                     lane_pixels + (line * Tile::kInWidth + Tile::slot_of(tap_column)) * Tile::kPixelBytes + k * 32);
  }
}

// A warp's sums, and what becomes of them. Lane 4 g + t has, of pixels g and g + 8 of each of its lines, the channels
// from 8 t on of every 32: groups of eight.
template <typename Tile>
struct ShallowSums {
  static constexpr int kLineGroups = 2 * Tile::kColumns / 32;  // of channels, in a line
  float values[Tile::kLines][Tile::kColumns / 8][4];

  __device__ ShallowSums() : values{} {}

  // Of the eight neighbours in a group of a line.
  __device__ float& at(int line, int group, int i) {
    return values[line][group / 2 * 4 + i / 2][group % 2 * 2 + i % 2];
  }
  __device__ static int channel_of_group(int group) { return group / 2 * 32 + static_cast<int>(threadIdx.x) % 4 * 8; }

  // Calls body(group, y of the group, how many of its channels exist) for those of a line that have any. y: the line's.
  template <typename Y, typename Body>
  __device__ static void for_each_group(const Gemm& gemm, Y* y, int column, int first_channel, Body&& body) {
    const int pixel = column + static_cast<int>(threadIdx.x) % 32 / 4;
#pragma unroll
    for (int group = 0; group < kLineGroups; ++group) {
      const int x = pixel + group % 2 * 8, channel = first_channel + channel_of_group(group);
      const int left = x < gemm.out_width ? gemm.columns - channel : 0;
      if (left > 0) body(group, y + x * gemm.y_stride + channel, left);
    }
  }

  template <typename Y>
  __device__ void add_y(const ShallowLaunch& launch, const Y* y, int column, int first_channel, int line) {
    for_each_group(launch.gemm, y, column, first_channel, [&](int group, const Y* from, int left) {
      float before[8] = {};
      add_columns(before, from, left, launch.are_groups_stored);
#pragma unroll
      for (int i = 0; i < 8; ++i) at(line, group, i) += before[i];
    });
  }
  template <typename Y>
  __device__ void store(const ShallowLaunch& launch, Y* y, int column, int first_channel, int line) {
    for_each_group(launch.gemm, y, column, first_channel, [&](int group, Y* to, int left) {
      float results[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) results[i] = at(line, group, i);
      store_columns(to, results, left, launch.are_groups_stored);
    });
  }

  // bias: of the channels from first_channel on.
  template <typename T>
  __device__ void finish(const ShallowLaunch& launch, const TilePlace& place, int first_channel, const float* bias) {
    const Gemm& gemm = launch.gemm;
    const bool is_f32 = gemm.y_dtype == DType::f32;
    const int first_line = place.line + static_cast<int>(threadIdx.x) % kGroupThreads / 32 * Tile::kLines;
#pragma unroll
    for (int line = 0; line < Tile::kLines; ++line) {
      if (first_line + line >= gemm.out_height) continue;
#pragma unroll
      for (int group = 0; group < kLineGroups; ++group) {
        float added[8];
        load_group(added, bias + channel_of_group(group));
#pragma unroll
        for (int i = 0; i < 8; ++i) at(line, group, i) += added[i];
      }
      const std::int64_t y_line = static_cast<std::int64_t>(place.image) * gemm.out_height + first_line + line;
      const std::int64_t offset = y_line * gemm.out_width * gemm.y_stride;
      if (gemm.accumulate && is_f32) {
        add_y(launch, static_cast<const float*>(gemm.y) + offset, place.column, first_channel, line);
      } else if (gemm.accumulate) {
        add_y(launch, static_cast<const T*>(gemm.y) + offset, place.column, first_channel, line);
      }
      if (is_f32) {
        activate_all<float>(values[line], gemm.activation);
      } else {
        activate_all<T>(values[line], gemm.activation);
      }
#pragma unroll
      for (auto& columns : values[line]) scale_all(gemm, columns);
      if (is_f32) {
        store(launch, static_cast<float*>(gemm.y) + offset, place.column, first_channel, line);
      } else {
        store(launch, static_cast<T*>(gemm.y) + offset, place.column, first_channel, line);
      }
    }
  }
};

// Products::multiply_unit(sums, stage, weight): adds a unit's products with the nine panels of its weight.
// Products::publish(): makes what this thread has copied visible to the products.
template <typename T, typename Tile, typename Products>
__global__ void __launch_bounds__(kShallowThreads, 1) shallow_kernel(const __grid_constant__ ShallowLaunch launch) {
  const Gemm& gemm = launch.gemm;
  const ShallowShared<Tile> shared(launch.units);
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  const int block = static_cast<int>(blockIdx.x) / launch.column_tiles;
  const int blocks = static_cast<int>(gridDim.x) / launch.column_tiles;
  const int first_column = static_cast<int>(blockIdx.x) % launch.column_tiles * Tile::kColumns;
  copy_weight<T>(launch, first_column, shared);
  dependent_launch();
  int tile = group * blocks + block;  // few tiles go to blocks of their own
  TilePlace place = place_of<Tile>(launch, tile);
  if (tile < launch.tiles) copy_pixels<T, Tile>(gemm, place, 0, shared.stage(group, 0));
  ptx::cp_async_wait_all();
  Products::publish();
  __syncthreads();  // the weight has come for both groups
  int stage = 0;
  while (tile < launch.tiles) {
    const TilePlace mine = place;
    ShallowSums<Tile> sums;
#pragma unroll 1
    for (int unit = 0; unit < launch.units; ++unit, stage ^= 1) {
      ptx::cp_async_wait_all();
      ptx::named_barrier<kGroupThreads>(1 + group);  // the unit has come for all, who are done with the one before
      int next = unit + 1;
      if (next == launch.units) {
        next = 0;
        tile += kGroups * blocks;
        place = place_of<Tile>(launch, tile);
      }
      if (tile < launch.tiles) copy_pixels<T, Tile>(gemm, place, next, shared.stage(group, stage ^ 1));
      Products::multiply_unit(sums.values, shared.stage(group, stage),
                              shared.weight + unit * kTaps * Tile::kPanelBytes);
    }
    sums.template finish<T>(launch, mine, first_column, shared.bias);
  }
}

// Starts the kernel of the shape, as many blocks as run at once.
template <template <typename, typename> typename Products>
void start_shallow(const char* name, const ShallowShape& shape, ShallowLaunch parameters, CudaStream stream) {
  const Gemm& gemm = parameters.gemm;
  int device = 0, multiprocessors = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
             "cudaDeviceGetAttribute");
  const int most = std::max(multiprocessors / parameters.column_tiles, 1);
  const std::int64_t blocks = std::int64_t{parameters.column_tiles} * std::min(most, parameters.tiles);
  const auto start = [&]<typename T, typename Tile>() {
    launch(name, shallow_kernel<T, Tile, Products<T, Tile>>, blocks, kShallowThreads,
           Tile::shared_bytes(parameters.units), stream, parameters);
  };
  const auto choose_tile = [&]<typename T, int kColumns>() {
    if (shape.stride == 2) return start.template operator()<T, ShallowTile<2, 2, 16, kColumns>>();
    if (shape.unit == 16) return start.template operator()<T, ShallowTile<1, 2, 16, kColumns>>();
    if (shape.lines == 2) return start.template operator()<T, ShallowTile<1, 2, 32, kColumns>>();
    start.template operator()<T, ShallowTile<1, 4, 32, kColumns>>();
  };
  const auto choose_columns = [&]<typename T>() {
    if (shape.columns == 32) return choose_tile.template operator()<T, 32>();
    choose_tile.template operator()<T, 64>();
  };
  if (gemm.dtype == DType::f16) return choose_columns.template operator()<__half>();
  choose_columns.template operator()<__nv_bfloat16>();
}

}  // namespace vistazo::cuda
