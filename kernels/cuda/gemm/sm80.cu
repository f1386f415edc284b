// The product of f16 and bf16 operands by mma.sync, from compute capability 8.0 on. A block of four warps owns a tile
// of outputs, each warp a quarter of it in registers. Operands come to shared memory by cp.async, kStages steps of 64
// along k at a time, in rows of 128 bytes whose 16-byte chunks are permuted, so that ldmatrix meets no bank twice. The
// rows of the left operand are pixels that a tap of the kernel moves; what lies outside of the image is filled with
// zeros. Limited by the issue of mma.sync where there are enough tiles, by latency where there are few.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/dynamic_shared.cuh"
#include "kernels/cuda/gemm/epilogue.cuh"
#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/ldmatrix.cuh"
#include "kernels/cuda/ptx/mma.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kStep = 64;                      // along k: 128 bytes of a row
constexpr int kChunk = 8;                      // elements of 16 bytes
constexpr int kChunks = kStep / kChunk;        // of a row; as many rows are permuted in different ways
constexpr int kLoadRows = kThreads / kChunks;  // rows that the block's threads copy together
constexpr int kOutside = -(1 << 29);           // a line that no tap moves into an image

struct Sm80Launch {
  Gemm gemm;
  int row_tiles, column_tiles;
  bool are_pairs_stored;  // two neighbouring columns of y in one store
};

// The pixel that the kernel's corner meets for a row of the left operand.
struct RowOrigin {
  int pixel;  // counted through all images
  int y, x;   // in its image; outside of it in places
  int padding;
};

__device__ RowOrigin origin_of(const Gemm& gemm, int row) {
  if (row >= gemm.rows) return {0, kOutside, kOutside, 0};
  const int line = row / gemm.out_width, image = line / gemm.out_height;
  const int y = (line - image * gemm.out_height) * gemm.stride - gemm.padding;
  const int x = (row - line * gemm.out_width) * gemm.stride - gemm.padding;
  return {(image * gemm.height + y) * gemm.width + x, y, x, 0};
}

template <int kRowTile, int kColumnTile, int kStages>
struct Tiles {
  static constexpr int kRows = kRowTile, kColumns = kColumnTile, kDepth = kStages;
  static constexpr int kStageChunks = (kRowTile + kColumnTile) * kChunks;
  static constexpr std::size_t kBytes =
      kStages * kStageChunks * sizeof(uint4) + static_cast<std::size_t>(kRowTile) * sizeof(RowOrigin);
};

__device__ int chunk_place(int row, int chunk) {
  return row * kChunks + (chunk ^ (row % kChunks));
}

// Eight elements of the left operand, k .. k + 7 of a row, one by one.
template <typename T>
__device__ uint4 gather_chunk(const Gemm& gemm, const T* x, const RowOrigin& origin, int k) {
  union {
    uint4 chunk;
    T elements[kChunk];
  } result;
  result.chunk = make_uint4(0, 0, 0, 0);
  int tap = k / gemm.channels, channel = k - tap * gemm.channels;
  int tap_y = tap / gemm.kernel_width, tap_x = tap - tap_y * gemm.kernel_width;
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    const bool is_inside = k + i < gemm.depth && static_cast<unsigned>(origin.y + tap_y) < unsigned(gemm.height) &&
                           static_cast<unsigned>(origin.x + tap_x) < unsigned(gemm.width);
    if (is_inside) result.elements[i] = x[(origin.pixel + tap_y * gemm.width + tap_x) * gemm.x_stride + channel];
    if (++channel == gemm.channels) {
      channel = 0;
      if (++tap_x == gemm.kernel_width) {
        tap_x = 0;
        ++tap_y;
      }
    }
  }
  return result.chunk;
}

// Starts copying a step of the left operand. A thread copies one chunk of every kLoadRows-th row.
template <typename T, int kRows, bool kIsAligned>
__device__ void copy_x(const Gemm& gemm, const T* x, const RowOrigin* origins, uint4* to, int step) {
  const int chunk = static_cast<int>(threadIdx.x) % kChunks, first = static_cast<int>(threadIdx.x) / kChunks;
  const int k = step * kStep + chunk * kChunk;
  if constexpr (kIsAligned) {
    const int tap = k / gemm.channels, channel = k - tap * gemm.channels;
    const int tap_y = tap / gemm.kernel_width, tap_x = tap - tap_y * gemm.kernel_width;
    const std::int64_t moved = tap_y * gemm.width + tap_x;
#pragma unroll
    for (int i = 0; i < kRows; i += kLoadRows) {
      const RowOrigin origin = origins[first + i];
      const bool is_inside = k < gemm.depth && static_cast<unsigned>(origin.y + tap_y) < unsigned(gemm.height) &&
                             static_cast<unsigned>(origin.x + tap_x) < unsigned(gemm.width);
      const T* from = is_inside ? x + (origin.pixel + moved) * gemm.x_stride + channel : x;
      ptx::cp_async_cg_16(to + chunk_place(first + i, chunk), from, is_inside ? 16 : 0);
    }
  } else {
#pragma unroll 1
    for (int i = 0; i < kRows; i += kLoadRows) {
      to[chunk_place(first + i, chunk)] = gather_chunk(gemm, x, origins[first + i], k);
    }
  }
}

template <typename T, int kColumns>
__device__ void copy_weight(const Gemm& gemm, const T* weight, int columns, uint4* to, int step) {
  const int chunk = static_cast<int>(threadIdx.x) % kChunks, first = static_cast<int>(threadIdx.x) / kChunks;
  const int k = step * kStep + chunk * kChunk;
#pragma unroll
  for (int i = 0; i < kColumns; i += kLoadRows) {
    const bool is_inside = first + i < columns && k < gemm.weight_stride;
    const T* from = is_inside ? weight + static_cast<std::int64_t>(first + i) * gemm.weight_stride + k : weight;
    ptx::cp_async_cg_16(to + chunk_place(first + i, chunk), from, is_inside ? 16 : 0);
  }
}

template <typename T>
__device__ void multiply(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    ptx::mma_m16n8k16_f32_f16(sums, a, b0, b1);
  } else {
    ptx::mma_m16n8k16_f32_bf16(sums, a, b0, b1);
  }
}

// Pairs of columns of one row, the first at `column` of the group, each eight columns behind the one before.
template <typename Y, int kPairs>
__device__ void finish_row(const Gemm& gemm, float (&values)[kPairs][2], std::int64_t row, int group, int column,
                           bool are_pairs_stored) {
  const int place = group * gemm.columns + column;
  Y* const y = static_cast<Y*>(gemm.y) + row * gemm.y_stride + place;
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int left = gemm.columns - column - 8 * j;
    if (gemm.bias != nullptr) {
      if (left > 0) values[j][0] += gemm.bias[place + 8 * j];
      if (left > 1) values[j][1] += gemm.bias[place + 8 * j + 1];
    }
    if (gemm.accumulate) add_columns(values[j], y + 8 * j, left, are_pairs_stored && left > 0);
  }
  activate_all<Y>(values, gemm.activation);
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int left = gemm.columns - column - 8 * j;
    scale_all(gemm, values[j]);
    store_columns(y + 8 * j, values[j], left, are_pairs_stored && left > 0);
  }
}

template <typename T, typename Y, typename Tile, bool kIsAligned>
__global__ void __launch_bounds__(kThreads) gemm_sm80_kernel(const __grid_constant__ Sm80Launch launch) {
  constexpr int kRows = Tile::kRows, kColumns = Tile::kColumns, kStages = Tile::kDepth;
  constexpr int kWarpRows = kRows / 2, kWarpColumns = kColumns / 2;
  constexpr int kRowBlocks = kWarpRows / 16, kColumnPairs = kWarpColumns / 16;
  const Gemm& gemm = launch.gemm;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int tile = static_cast<int>(blockIdx.x);
  // Tiles of the same columns are neighbours: their weight is read once into the second-level cache.
  const int first_row = tile % launch.row_tiles * kRows;
  const int first_column = tile / launch.row_tiles % launch.column_tiles * kColumns;
  const int group = tile / launch.row_tiles / launch.column_tiles;

  const auto stage = [&](int i) { return reinterpret_cast<uint4*>(dynamic_shared()) + i * Tile::kStageChunks; };
  RowOrigin* const origins = reinterpret_cast<RowOrigin*>(stage(kStages));
  for (int i = thread; i < kRows; i += kThreads) origins[i] = origin_of(gemm, first_row + i);
  __syncthreads();
  dependent_launch();

  const T* const x = static_cast<const T*>(gemm.x) + static_cast<std::int64_t>(group) * gemm.channels;
  const T* const weight = static_cast<const T*>(gemm.weight) +
                          (static_cast<std::int64_t>(group) * gemm.columns + first_column) * gemm.weight_stride;
  const int steps = (gemm.depth + kStep - 1) / kStep;
  const auto copy_step = [&](int step) {
    if (step < steps) {
      uint4* const to = stage(step % kStages);
      copy_x<T, kRows, kIsAligned>(gemm, x, origins, to, step);
      copy_weight<T, kColumns>(gemm, weight, gemm.columns - first_column, to + kRows * kChunks, step);
    }
    ptx::cp_async_commit_group();
  };

  float sums[kRowBlocks][2 * kColumnPairs][4] = {};
  const int warp_row = warp % 2 * kWarpRows, warp_column = warp / 2 * kWarpColumns;
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) copy_step(i);
  for (int step = 0; step < steps; ++step) {
    ptx::cp_async_wait_group<kStages - 2>();
    __syncthreads();  // the step has come for all threads, and all are done with the one before
    copy_step(step + kStages - 1);
    const uint4* const x_tile = stage(step % kStages);
    const uint4* const weight_tile = x_tile + kRows * kChunks;
#pragma unroll
    for (int chunk = 0; chunk < kChunks; chunk += 2) {
      std::uint32_t a[kRowBlocks][4], b[kColumnPairs][4];
#pragma unroll
      for (int i = 0; i < kRowBlocks; ++i) {
        ptx::ldmatrix_x4(a[i], x_tile + chunk_place(warp_row + 16 * i + lane % 16, chunk + lane / 16));
      }
#pragma unroll
      for (int j = 0; j < kColumnPairs; ++j) {
        const int row = warp_column + 16 * j + lane / 16 * 8 + lane % 8;
        ptx::ldmatrix_x4(b[j], weight_tile + chunk_place(row, chunk + lane / 8 % 2));
      }
#pragma unroll
      for (int i = 0; i < kRowBlocks; ++i) {
#pragma unroll
        for (int j = 0; j < kColumnPairs; ++j) {
          multiply<T>(sums[i][2 * j], a[i], b[j][0], b[j][1]);
          multiply<T>(sums[i][2 * j + 1], a[i], b[j][2], b[j][3]);
        }
      }
    }
  }
  ptx::cp_async_wait_all();  // the groups behind the last step are empty

  // A lane has two neighbouring columns of eight.
#pragma unroll
  for (int i = 0; i < kRowBlocks; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float values[2 * kColumnPairs][2];
#pragma unroll
      for (int j = 0; j < 2 * kColumnPairs; ++j) {
        values[j][0] = sums[i][j][2 * half];
        values[j][1] = sums[i][j][2 * half + 1];
      }
      const int row = first_row + warp_row + 16 * i + 8 * half + lane / 4;
      const int column = first_column + warp_column + lane % 4 * 2;
      if (row < gemm.rows) finish_row<Y>(gemm, values, row, group, column, launch.are_pairs_stored);
    }
  }
}

template <typename T, typename Y, typename Tile, bool kIsAligned>
void start(const char* name, Sm80Launch parameters, CudaStream stream) {
  const Gemm& gemm = parameters.gemm;
  parameters.row_tiles = (gemm.rows + Tile::kRows - 1) / Tile::kRows;
  parameters.column_tiles = (gemm.columns + Tile::kColumns - 1) / Tile::kColumns;
  const std::int64_t blocks = static_cast<std::int64_t>(parameters.row_tiles) * parameters.column_tiles * gemm.groups;
  launch(name, gemm_sm80_kernel<T, Y, Tile, kIsAligned>, blocks, kThreads, Tile::kBytes, stream, parameters);
}

template <typename T, typename Y>
void choose_tiles(const char* name, const Sm80Launch& parameters, CudaStream stream) {
  using Small = Tiles<64, 64, 4>;
  using Large = Tiles<128, 128, 3>;  // 98 KB, which 8.6 and 8.9 have as well
  const Gemm& gemm = parameters.gemm;
  if (!is_gather_aligned(gemm)) return start<T, Y, Small, false>(name, parameters, stream);
  // Large tiles read half as much from shared memory, but need the rows and columns to fill the chip twice.
  constexpr std::int64_t kEnoughTiles = 264;
  const std::int64_t large_tiles = std::int64_t{(gemm.rows + 127) / 128} * ((gemm.columns + 127) / 128) * gemm.groups;
  if (large_tiles >= kEnoughTiles && gemm.columns > 96) return start<T, Y, Large, true>(name, parameters, stream);
  start<T, Y, Small, true>(name, parameters, stream);
}

template <typename T>
void choose_output(const char* name, const Sm80Launch& parameters, CudaStream stream) {
  if (parameters.gemm.y_dtype == DType::f32) return choose_tiles<T, float>(name, parameters, stream);
  choose_tiles<T, T>(name, parameters, stream);
}

}  // namespace

void gemm_sm80(const char* name, const Gemm& gemm, CudaStream stream) {
  Sm80Launch parameters{};
  parameters.gemm = gemm;
  parameters.are_pairs_stored = are_groups_stored(gemm, 2);
  if (gemm.dtype == DType::f16) return choose_output<__half>(name, parameters, stream);
  choose_output<__nv_bfloat16>(name, parameters, stream);
}

}  // namespace vistazo::cuda
