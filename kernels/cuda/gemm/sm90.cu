// The product of f16 and bf16 operands on compute capability 9.0, by wgmma on operands that the copy engine brings. A
// block owns a tile of outputs: one warp keeps kStages steps of 64 along k on their way to shared memory (the weight's
// first steps before the kernel in front has finished: it reads no weight), and warpgroups of four warps multiply, 64
// rows each. Where tiles are few, the blocks of a cluster divide the sums among them and add them up, always in the
// same order, through each other's shared memory. The sums pass through shared memory to whole rows of y. Limited by
// the latency of a few loads for small products, by the tensor cores for large ones.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "kernels/cuda/gemm/epilogue.cuh"
#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/bar_sync.cuh"
#include "kernels/cuda/ptx/cluster.cuh"
#include "kernels/cuda/ptx/cp_async_bulk_im2col.cuh"
#include "kernels/cuda/ptx/cp_async_bulk_tensor.cuh"
#include "kernels/cuda/ptx/mbarrier.cuh"
#include "kernels/cuda/ptx/wgmma.cuh"
#include "kernels/cuda/tensor_map.h"

namespace vistazo::cuda {
namespace {

extern __shared__ uint4 shared_memory[];

constexpr int kStep = 64;  // along k: 128 bytes, the widest swizzled row
constexpr int kRowBytes = 128;
constexpr int kWarpgroup = 128;
constexpr int kWarpRows = 16;     // of a warpgroup's 64
constexpr int kAlignment = 1024;  // of a swizzled tile in shared memory

struct Sm90Launch {
  CUtensorMap x, weight;
  Gemm gemm;
  int row_tiles, column_tiles;
  int splits;             // blocks of a cluster, which divide the steps of a tile
  int channel_steps;      // steps of one tap
  bool is_pointwise;      // rows of the left operand are pixels
  bool is_vector_stored;  // 16 bytes of y in one store
};

// kColumnTile is multiplied in kParts instructions.
template <int kRowTile, int kColumnTile, int kStageCount, int kBlocksPerMultiprocessor>
struct Tile {
  static constexpr int kRows = kRowTile, kColumns = kColumnTile, kStages = kStageCount;
  static constexpr int kBlocks = kBlocksPerMultiprocessor;
  static constexpr int kWarpgroups = kRowTile / 64, kThreads = kWarpgroups * kWarpgroup + 32;
  static constexpr int kParts = kColumnTile > 128 ? 2 : 1, kPartColumns = kColumnTile / kParts;
  static constexpr int kXBytes = kRowTile * kRowBytes, kStageBytes = kXBytes + kColumnTile * kRowBytes;
  // A row of sums in shared memory: 8 words more than a multiple of 32, so that 4 rows of a store meet all banks.
  static constexpr int kPitch = kColumnTile + 8;
  static constexpr int kBarrierBytes = 128;
  static constexpr int kBytes = kStages * kStageBytes + kBarrierBytes + kAlignment;
  static_assert(kRowTile * kPitch * 4 <= kStages * kStageBytes);
};

// Where a block's tile lies.
struct Place {
  int first_row, first_column, group, rank;
};

template <typename Tile>
__device__ Place place_of(const Sm90Launch& launch) {
  const int block = static_cast<int>(blockIdx.x), tile = block / launch.splits;
  return {tile % launch.row_tiles * Tile::kRows, tile / launch.row_tiles % launch.column_tiles * Tile::kColumns,
          tile / launch.row_tiles / launch.column_tiles, block % launch.splits};
}

struct Steps {
  int first, count;
};

// The rank's share of a tile's steps; shares differ by one at most.
__device__ Steps steps_of(const Sm90Launch& launch, int rank) {
  const int steps = launch.channel_steps * launch.gemm.kernel_height * launch.gemm.kernel_width;
  const int first = steps * rank / launch.splits;
  return {first, steps * (rank + 1) / launch.splits - first};
}

template <typename Tile>
struct Pipeline {
  unsigned char* stages;
  ptx::Barrier *full, *empty;

  __device__ Pipeline() {
    auto* const bytes = reinterpret_cast<unsigned char*>(shared_memory);
    stages = bytes + (kAlignment - ptx::shared_address(bytes) % kAlignment) % kAlignment;
    full = reinterpret_cast<ptx::Barrier*>(stages + Tile::kStages * Tile::kStageBytes);
    empty = full + Tile::kStages;
  }
  __device__ unsigned char* x(int step) const { return stages + step % Tile::kStages * Tile::kStageBytes; }
  __device__ unsigned char* weight(int step) const { return x(step) + Tile::kXBytes; }
};

template <typename Tile>
__device__ void copy_weight(const Sm90Launch& launch, const Pipeline<Tile>& pipeline, const Place& place,
                            const Steps& steps, int i) {
  const int step = steps.first + i, tap = step / launch.channel_steps;
  const int k = tap * launch.gemm.channels + (step - tap * launch.channel_steps) * kStep;
  ptx::Barrier* const barrier = pipeline.full + i % Tile::kStages;
  ptx::mbarrier_arrive_expect_tx(barrier, Tile::kStageBytes);
  ptx::cp_async_bulk_tensor_2d(pipeline.weight(i), &launch.weight, k,
                               place.group * launch.gemm.columns + place.first_column, barrier);
}

// The one thread that starts copies.
template <typename Tile>
__device__ void produce(const Sm90Launch& launch, const Pipeline<Tile>& pipeline, const Place& place,
                        const Steps& steps) {
  const Gemm& gemm = launch.gemm;
  const int early = min(steps.count, Tile::kStages);
  for (int i = 0; i < early; ++i) copy_weight(launch, pipeline, place, steps, i);
  dependent_launch();
  const int line = place.first_row / gemm.out_width, image = line / gemm.out_height;
  const int x = (place.first_row - line * gemm.out_width) * gemm.stride - gemm.padding;
  const int y = (line - image * gemm.out_height) * gemm.stride - gemm.padding;
  for (int i = 0; i < steps.count; ++i) {
    if (i >= early) {
      ptx::mbarrier_wait(pipeline.empty + i % Tile::kStages, (i / Tile::kStages - 1) % 2);
      copy_weight(launch, pipeline, place, steps, i);
    }
    const int step = steps.first + i, tap = step / launch.channel_steps;
    const int channel = place.group * gemm.channels + (step - tap * launch.channel_steps) * kStep;
    ptx::Barrier* const barrier = pipeline.full + i % Tile::kStages;
    if (launch.is_pointwise) {
      ptx::cp_async_bulk_tensor_2d(pipeline.x(i), &launch.x, channel, place.first_row, barrier);
    } else {
      const int tap_y = tap / gemm.kernel_width;
      ptx::cp_async_bulk_tensor_im2col(pipeline.x(i), &launch.x, channel, x, y, image, tap - tap_y * gemm.kernel_width,
                                       tap_y, barrier);
    }
  }
}

template <typename T, int kColumns>
__device__ void multiply(float (&sums)[kColumns / 8][4], std::uint64_t a, std::uint64_t b, bool is_added) {
  if constexpr (std::is_same_v<T, __half>) {
    ptx::wgmma_f32_f16(sums, a, b, is_added);
  } else {
    ptx::wgmma_f32_bf16(sums, a, b, is_added);
  }
}

// A warpgroup's 64 rows of the tile, summed over the block's steps.
template <typename T, typename Tile>
__device__ void consume(const Pipeline<Tile>& pipeline, int count,
                        float (&sums)[Tile::kParts][Tile::kPartColumns / 8][4]) {
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  const bool is_first_lane = threadIdx.x % 32 == 0;
#pragma unroll
  for (int part = 0; part < Tile::kParts; ++part) ptx::hold(sums[part]);
  for (int i = 0; i < count; ++i) {
    ptx::mbarrier_wait(pipeline.full + i % Tile::kStages, i / Tile::kStages % 2);
    const std::uint64_t a = ptx::wgmma_descriptor<kRowBytes>(pipeline.x(i) + warpgroup * 64 * kRowBytes);
    const std::uint64_t b = ptx::wgmma_descriptor<kRowBytes>(pipeline.weight(i));
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kStep; k += 16) {
#pragma unroll
      for (int part = 0; part < Tile::kParts; ++part) {
        multiply<T, Tile::kPartColumns>(sums[part], ptx::advance(a, 2 * k),
                                        ptx::advance(b, 2 * k + part * Tile::kPartColumns * kRowBytes), i + k > 0);
      }
    }
    ptx::wgmma_commit();
    if (i > 0) {  // the step before is done with
      ptx::wgmma_wait<1>();
      if (is_first_lane) ptx::mbarrier_arrive(pipeline.empty + (i - 1) % Tile::kStages);
    }
  }
  ptx::wgmma_wait<0>();
#pragma unroll
  for (int part = 0; part < Tile::kParts; ++part) ptx::hold(sums[part]);
}

// Lane 4 g + t of warp w holds columns 8 j + 2 t, + 1 of rows 16 w + g and 16 w + g + 8.
template <typename Tile>
__device__ void store_sums(float* tile, const float (&sums)[Tile::kParts][Tile::kPartColumns / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  float* const to = tile + (warp * kWarpRows + lane / 4) * Tile::kPitch + lane % 4 * 2;
#pragma unroll
  for (int part = 0; part < Tile::kParts; ++part) {
#pragma unroll
    for (int j = 0; j < Tile::kPartColumns / 8; ++j) {
      float* const pair = to + part * Tile::kPartColumns + 8 * j;
      *reinterpret_cast<float2*>(pair) = make_float2(sums[part][j][0], sums[part][j][1]);
      *reinterpret_cast<float2*>(pair + 8 * Tile::kPitch) = make_float2(sums[part][j][2], sums[part][j][3]);
    }
  }
}

// Neighbouring columns of y that are 16 bytes.
template <typename Y>
struct alignas(16) Vector {
  static constexpr int kCount = 16 / sizeof(Y);
  Y values[kCount];
};

// The warp's rows of what the block finishes: sums of all ranks, then y.
template <typename Y, typename Tile>
__device__ void finish_rows(const Sm90Launch& launch, const Place& place, const float* tile) {
  constexpr int kCount = Vector<Y>::kCount, kLanes = Tile::kColumns / kCount;
  const Gemm& gemm = launch.gemm;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_rows = kWarpRows / launch.splits,
            first = (place.rank * Tile::kRows / launch.splits) + warp * warp_rows;
  for (int i = lane; i < warp_rows * kLanes; i += 32) {
    const int tile_row = first + i / kLanes, tile_column = i % kLanes * kCount;
    const int row = place.first_row + tile_row, column = place.first_column + tile_column;
    if (row >= gemm.rows || column >= gemm.columns) continue;
    const float* const from = tile + tile_row * Tile::kPitch + tile_column;
    float sums[kCount];
#pragma unroll
    for (int j = 0; j < kCount; j += 4)
      *reinterpret_cast<float4*>(sums + j) = *reinterpret_cast<const float4*>(from + j);
    if (launch.splits > 1) {
#pragma unroll
      for (int j = 0; j < kCount; j += 4) {
        float4 sum = ptx::load_cluster_v4(from + j, 0);
        for (int rank = 1; rank < launch.splits; ++rank) {
          const float4 other = ptx::load_cluster_v4(from + j, rank);
          sum = make_float4(sum.x + other.x, sum.y + other.y, sum.z + other.z, sum.w + other.w);
        }
        *reinterpret_cast<float4*>(sums + j) = sum;
      }
    }
    const int group_column = place.group * gemm.columns + column;
    if (!launch.is_vector_stored) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        if (column + j < gemm.columns) finish<Y>(gemm, sums[j], row, group_column + j);
      }
      continue;
    }
    auto* const y = reinterpret_cast<Vector<Y>*>(static_cast<Y*>(gemm.y) + row * gemm.y_stride + group_column);
    if (gemm.bias != nullptr) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) sums[j] += gemm.bias[group_column + j];
    }
    if (gemm.accumulate) {
      const Vector<Y> before = *y;
#pragma unroll
      for (int j = 0; j < kCount; ++j) sums[j] += to_float(before.values[j]);
    }
    Vector<Y> result;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      result.values[j] = from_float<Y>(activate(sums[j], gemm.activation) * gemm.post_scale + gemm.post_bias);
    }
    *y = result;
  }
}

template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    gemm_sm90_kernel(const __grid_constant__ Sm90Launch launch) {
  const Pipeline<Tile> pipeline;
  const Place place = place_of<Tile>(launch);
  const Steps steps = steps_of(launch, place.rank);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const bool is_producer = warp == Tile::kWarpgroups * 4;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Tile::kStages; ++i) {
      ptx::mbarrier_init(pipeline.full + i, 1);
      ptx::mbarrier_init(pipeline.empty + i, 4 * Tile::kWarpgroups);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  float* const tile = reinterpret_cast<float*>(pipeline.stages);
  if (is_producer) {
    if (threadIdx.x % 32 == 0) {
      ptx::prefetch_tensormap(&launch.weight);
      ptx::prefetch_tensormap(&launch.x);
      produce(launch, pipeline, place, steps);
    }
    __syncwarp();
  } else {
    dependent_launch();
    float sums[Tile::kParts][Tile::kPartColumns / 8][4];
#pragma unroll
    for (int part = 0; part < Tile::kParts; ++part) {
#pragma unroll
      for (int j = 0; j < Tile::kPartColumns / 8; ++j) {
        sums[part][j][0] = sums[part][j][1] = sums[part][j][2] = sums[part][j][3] = 0.0f;
      }
    }
    consume<T>(pipeline, steps.count, sums);
    ptx::named_barrier<Tile::kWarpgroups * kWarpgroup>(1);  // nobody reads operands any more
    store_sums<Tile>(tile, sums);
    __syncwarp();
  }
  if (launch.splits > 1) ptx::cluster_barrier();
  if (!is_producer) {
    if (launch.gemm.y_dtype == DType::f32) {
      finish_rows<float, Tile>(launch, place, tile);
    } else {
      finish_rows<T, Tile>(launch, place, tile);
    }
  }
  if (launch.splits > 1) ptx::cluster_barrier();  // others may still read this block's sums
}

// A tile shape and in how many parts its sums are divided.
struct Choice {
  int rows, columns, splits;
};

constexpr Choice kChoices[] = {{64, 64, 1},  {64, 64, 2},   {64, 64, 4},   {64, 128, 1},  {64, 128, 2},
                               {64, 128, 4}, {128, 128, 1}, {128, 128, 2}, {128, 192, 1}, {128, 256, 1}};

template <typename T, typename Tile>
void start(const char* name, Sm90Launch parameters, CudaStream stream) {
  const Gemm& gemm = parameters.gemm;
  parameters.row_tiles = (gemm.rows + Tile::kRows - 1) / Tile::kRows;
  parameters.column_tiles = (gemm.columns + Tile::kColumns - 1) / Tile::kColumns;
  parameters.channel_steps = (gemm.channels + kStep - 1) / kStep;
  parameters.is_pointwise = gemm.is_pointwise();
  if (parameters.is_pointwise) {
    parameters.x =
        matrix_map(gemm.x, gemm.dtype, gemm.rows, gemm.groups * gemm.channels, gemm.x_stride, Tile::kRows, kStep);
  } else {
    parameters.x = pixel_map({.data = gemm.x,
                              .dtype = gemm.dtype,
                              .batch = gemm.batch,
                              .height = gemm.height,
                              .width = gemm.width,
                              .channels = gemm.groups * gemm.channels,
                              .pixel_stride = gemm.x_stride,
                              .stride = gemm.stride,
                              .padding = gemm.padding,
                              .out_height = gemm.out_height,
                              .out_width = gemm.out_width,
                              .box_pixels = Tile::kRows,
                              .box_channels = kStep});
  }
  parameters.weight = matrix_map(gemm.weight, gemm.dtype, std::int64_t{gemm.groups} * gemm.columns, gemm.weight_stride,
                                 gemm.weight_stride, Tile::kColumns, kStep);
  const std::int64_t blocks =
      std::int64_t{parameters.row_tiles} * parameters.column_tiles * gemm.groups * parameters.splits;
  launch(name, gemm_sm90_kernel<T, Tile>, blocks, Tile::kThreads, Tile::kBytes, stream, parameters, parameters.splits);
}

template <typename T>
void start_choice(const char* name, const Choice& choice, Sm90Launch parameters, CudaStream stream) {
  parameters.splits = choice.splits;
  if (choice.columns == 64) return start<T, Tile<64, 64, 4, 3>>(name, parameters, stream);
  if (choice.rows == 64) return start<T, Tile<64, 128, 4, 2>>(name, parameters, stream);
  if (choice.columns == 128) return start<T, Tile<128, 128, 3, 2>>(name, parameters, stream);
  if (choice.columns == 192) return start<T, Tile<128, 192, 4, 1>>(name, parameters, stream);
  start<T, Tile<128, 256, 4, 1>>(name, parameters, stream);
}

Choice choose(const Gemm& gemm) {
  (void)gemm;
  return kChoices[0];
}

static_assert(std::size(kChoices) == kSm90Tiles);

}  // namespace

bool can_run_sm90(const Gemm& gemm) {
  if (gemm.dtype == DType::f32 || !is_gather_aligned(gemm)) return false;
  if (gemm.groups > 1 && gemm.channels % kStep != 0) return false;
  // The limits of tensor maps that read pixels.
  return gemm.is_pointwise() ||
         (gemm.stride <= 8 && gemm.padding < 128 && gemm.kernel_height < 128 && gemm.kernel_width < 128);
}

void gemm_sm90(const char* name, const Gemm& gemm, int choice, CudaStream stream) {
  Sm90Launch parameters{};
  parameters.gemm = gemm;
  const auto bytes = static_cast<std::int64_t>(size_of(gemm.y_dtype));
  parameters.is_vector_stored = gemm.columns * bytes % 16 == 0 && gemm.y_stride * bytes % 16 == 0 &&
                                reinterpret_cast<std::uintptr_t>(gemm.y) % 16 == 0;
  const Choice chosen = choice < 0 ? choose(gemm) : kChoices[choice % kSm90Tiles];
  if (gemm.dtype == DType::f16) return start_choice<__half>(name, chosen, parameters, stream);
  start_choice<__nv_bfloat16>(name, chosen, parameters, stream);
}

}  // namespace vistazo::cuda
