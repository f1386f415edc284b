// The product of f16 and bf16 operands on compute capability 9.0, by wgmma on operands that the copy engine brings. A
// block owns a tile of outputs: two warps keep kStages steps of 64 along k on their way to shared memory (the weight's
// first steps before the kernel in front has finished: it reads no weight), and warpgroups of four warps multiply, 64
// rows each. Where tiles are few, the blocks of a cluster divide the sums among them and add them up, always in the
// same order, through each other's shared memory. The sums pass through shared memory to whole rows of y. Limited by
// the latency of a few loads for small products, by the tensor cores for large ones.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/divisor.cuh"
#include "kernels/cuda/dynamic_shared.cuh"
#include "kernels/cuda/gemm/epilogue.cuh"
#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/gemm/sm90_operands.cuh"
#include "kernels/cuda/gemm/tiles.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/bar_sync.cuh"
#include "kernels/cuda/ptx/cluster.cuh"
#include "kernels/cuda/ptx/cp_async_bulk_tensor.cuh"
#include "kernels/cuda/ptx/mbarrier.cuh"
#include "kernels/cuda/ptx/wgmma.cuh"
#include "kernels/cuda/warp.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kWarpRows = 16;  // of a warpgroup's 64

struct Sm90Launch : Sm90Operands {
  int splits;  // blocks of a cluster, which divide the steps of a tile
  Divisor by_row_tiles, by_column_tiles, by_splits;
  bool are_groups_stored;  // 16 bytes of y in one store
};

// kColumnTile is multiplied in kParts instructions.
// kStepColumns along k are a row in shared memory: 64 fill the widest swizzle; 32 are for pixels of 32 channels.
template <int kRowTile, int kColumnTile, int kStageCount, int kBlocksPerMultiprocessor, int kStepColumns = 64>
struct Tile {
  static constexpr int kRows = kRowTile, kColumns = kColumnTile, kStages = kStageCount;
  static constexpr int kBlocks = kBlocksPerMultiprocessor;
  static constexpr int kStep = kStepColumns, kRowBytes = 2 * kStep;
  static constexpr int kWarpgroups = kRowTile / 64, kThreads = kWarpgroups * kWarpgroup + 64;
  static constexpr int kParts = kColumnTile > 128 ? 2 : 1, kPartColumns = kColumnTile / kParts;
  static constexpr int kXBytes = kRowTile * kRowBytes, kStageBytes = kXBytes + kColumnTile * kRowBytes;
  // A row of sums in shared memory: 8 words more than a multiple of 32, so that 4 rows of a store meet all banks.
  static constexpr int kPitch = kColumnTile + 8;
  static constexpr int kBarrierBytes = 256, kBiasBytes = 4 * kColumnTile;
  static constexpr int kBytes = kStages * kStageBytes + kBarrierBytes + kBiasBytes + kSharedAlignment;
  static_assert(kRowTile * kPitch * 4 <= kStages * kStageBytes && 16 * kStages <= kBarrierBytes);
};

// Where a block's tile lies.
struct Place {
  int first_row, first_column, group, rank;
};

template <typename Tile, bool kIsSplit>
__device__ Place place_of(const Sm90Launch& launch) {
  int tile = static_cast<int>(blockIdx.x), rank = 0;
  if constexpr (kIsSplit) {
    const auto block = launch.by_splits.divide(tile);
    tile = block.quotient;
    rank = block.rest;
  }
  const auto row = launch.by_row_tiles.divide(tile), column = launch.by_column_tiles.divide(row.quotient);
  return {row.rest * Tile::kRows, column.rest * Tile::kColumns, column.quotient, rank};
}

struct Steps {
  int first, count;
};

// The rank's share of a tile's steps; shares differ by one at most.
template <bool kIsSplit>
__device__ Steps steps_of(const Sm90Launch& launch, int rank) {
  if constexpr (!kIsSplit) return {0, launch.steps};
  const int first = launch.by_splits.divide(launch.steps * rank).quotient;
  return {first, launch.by_splits.divide(launch.steps * (rank + 1)).quotient - first};
}

template <typename Tile>
struct Pipeline {
  unsigned char* stages;
  ptx::Barrier *full, *empty;
  float* bias;

  __device__ Pipeline() {
    unsigned char* const bytes = dynamic_shared();
    stages = bytes + (kSharedAlignment - ptx::shared_address(bytes) % kSharedAlignment) % kSharedAlignment;
    full = reinterpret_cast<ptx::Barrier*>(stages + Tile::kStages * Tile::kStageBytes);
    empty = full + Tile::kStages;
    bias = reinterpret_cast<float*>(stages + Tile::kStages * Tile::kStageBytes + Tile::kBarrierBytes);
  }
  __device__ unsigned char* x(int step) const { return stages + step % Tile::kStages * Tile::kStageBytes; }
  __device__ unsigned char* weight(int step) const { return x(step) + Tile::kXBytes; }
  // Until what was in the stage of the i-th step has been multiplied.
  __device__ void wait_empty(int i) const {
    if (i >= Tile::kStages) ptx::mbarrier_sleep(empty + i % Tile::kStages, (i / Tile::kStages - 1) % 2);
  }
};

// Two threads start copies, of the rows and of the weight: starting one takes a few hundred cycles, and a small product
// has time for little else. Nothing in front of the kernel writes the weight, so that one does not wait.
template <bool kIsPointwise, typename Tile>
__device__ void copy_rows_of_tile(const Sm90Launch& launch, const Pipeline<Tile>& pipeline, const Place& place,
                                  const Steps& steps) {
  const RowCorner<kIsPointwise> corner(launch, place.first_row);
  dependent_launch();
  for (int i = 0; i < steps.count; ++i) {
    ptx::Barrier* const barrier = pipeline.full + i % Tile::kStages;
    pipeline.wait_empty(i);
    ptx::mbarrier_arrive_expect_tx(barrier, Tile::kXBytes);
    copy_rows(launch, pipeline.x(i), corner, place.group, Tap<kIsPointwise>(launch, steps.first + i), Tile::kStep,
              barrier);
  }
}
template <bool kIsPointwise, typename Tile>
__device__ void copy_weight_of_tile(const Sm90Launch& launch, const Pipeline<Tile>& pipeline, const Place& place,
                                    const Steps& steps) {
  const int row = place.group * launch.gemm.columns + place.first_column;
  for (int i = 0; i < steps.count; ++i) {
    ptx::Barrier* const barrier = pipeline.full + i % Tile::kStages;
    pipeline.wait_empty(i);
    ptx::mbarrier_arrive_expect_tx(barrier, Tile::kStageBytes - Tile::kXBytes);
    ptx::cp_async_bulk_tensor_2d(pipeline.weight(i), &launch.weight,
                                 Tap<kIsPointwise>(launch, steps.first + i).k(launch, Tile::kStep), row, barrier);
  }
}
template <bool kIsPointwise, typename Tile>
__device__ void produce(const Sm90Launch& launch, const Pipeline<Tile>& pipeline, const Place& place,
                        const Steps& steps, bool is_of_rows) {
  ptx::prefetch_tensormap(is_of_rows ? &launch.x : &launch.weight);
  is_of_rows ? copy_rows_of_tile<kIsPointwise>(launch, pipeline, place, steps)
             : copy_weight_of_tile<kIsPointwise>(launch, pipeline, place, steps);
}

// A warpgroup's 64 rows of the tile, summed over the block's steps.
template <typename T, typename Tile>
__device__ void consume(const Pipeline<Tile>& pipeline, int count,
                        float (&sums)[Tile::kParts][Tile::kPartColumns / 8][4]) {
  const int warpgroup = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kWarpgroup, 0);
  const bool is_first_lane = threadIdx.x % 32 == 0;
#pragma unroll
  for (int part = 0; part < Tile::kParts; ++part) ptx::hold(sums[part]);
  for (int i = 0; i < count; ++i) {
    ptx::mbarrier_wait(pipeline.full + i % Tile::kStages, i / Tile::kStages % 2);
    const std::uint64_t a = ptx::wgmma_descriptor<Tile::kRowBytes>(pipeline.x(i) + warpgroup * 64 * Tile::kRowBytes);
    const std::uint64_t b = ptx::wgmma_descriptor<Tile::kRowBytes>(pipeline.weight(i));
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < Tile::kStep; k += 16) {
#pragma unroll
      for (int part = 0; part < Tile::kParts; ++part) {
        multiply<T>(sums[part], ptx::advance(a, 2 * k),
                    ptx::advance(b, 2 * k + part * Tile::kPartColumns * Tile::kRowBytes), i + k > 0);
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

constexpr int kMostSplits = 4;

// The sum of four neighbouring columns over all ranks, in their order.
template <bool kIsSplit>
__device__ float4 load_sums(const float* from, int splits) {
  if constexpr (kIsSplit) {
    float4 parts[kMostSplits];
#pragma unroll
    for (int rank = 0; rank < kMostSplits; ++rank) {
      parts[rank] = rank < splits ? ptx::load_cluster_v4(from, rank) : make_float4(0, 0, 0, 0);
    }
    float4 sum = parts[0];
#pragma unroll
    for (int rank = 1; rank < kMostSplits; ++rank) {
      sum = make_float4(sum.x + parts[rank].x, sum.y + parts[rank].y, sum.z + parts[rank].z, sum.w + parts[rank].w);
    }
    return sum;
  } else {
    return *reinterpret_cast<const float4*>(from);
  }
}

// Four or eight neighbouring columns; load(j) gives those from j on. Of eight, every other four lanes load the second
// half first: eight lanes meet all banks of shared memory then, where they would meet one half of them twice.
template <int kCount, typename Load>
__device__ void load_columns(float (&x)[kCount], Load&& load) {
  if constexpr (kCount == 4) {
    const float4 all = load(0);
    x[0] = all.x, x[1] = all.y, x[2] = all.z, x[3] = all.w;
  } else {
    const bool is_flipped = threadIdx.x / 4 % 2 != 0;
    const float4 first = load(is_flipped ? 4 : 0), second = load(is_flipped ? 0 : 4);
    x[0] = is_flipped ? second.x : first.x, x[1] = is_flipped ? second.y : first.y;
    x[2] = is_flipped ? second.z : first.z, x[3] = is_flipped ? second.w : first.w;
    x[4] = is_flipped ? first.x : second.x, x[5] = is_flipped ? first.y : second.y;
    x[6] = is_flipped ? first.z : second.z, x[7] = is_flipped ? first.w : second.w;
  }
}

// The warp's rows of what the block finishes: sums of all ranks, then y. Several groups of columns at a time and
// without branches between them, so that their loads and their arithmetic overlap. kIsWhole: y takes groups in one
// store.
template <typename Y, Activation kActivation, typename Tile, bool kIsSplit, bool kIsWhole>
__device__ void finish_rows(const Sm90Launch& launch, const Place& place, const float* tile, const float* bias) {
  constexpr int kCount = 16 / sizeof(Y), kGroups = Tile::kColumns / kCount;
  constexpr int kMost = kIsWhole ? (Tile::kWarpgroups > 1 ? 16 : 32) / kCount : 1, kItems = kWarpRows * kGroups / 32;
  constexpr int kBatch = kIsSplit ? 1 : kItems < kMost ? kItems : kMost;
  const Gemm& gemm = launch.gemm;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int splits = kIsSplit ? launch.splits : 1, warp_rows = kWarpRows / splits, items = warp_rows * kGroups;
  const int first = (kIsSplit ? place.rank * Tile::kRows / splits : 0) + warp * warp_rows;
  Y* const y = static_cast<Y*>(gemm.y) + place.group * gemm.columns;
  // A lane's columns are the same in every row, unless a row has more groups than a warp has lanes.
  constexpr bool kIsBiasKept = kGroups <= 32;
  float kept_bias[kCount];
  if constexpr (kIsBiasKept)
    load_columns(kept_bias, [&](int j) { return load_sums<false>(bias + lane % kGroups * kCount + j, 1); });
#pragma unroll 1
  for (int start = lane; start < items; start += 32 * kBatch) {
    float sums[kBatch][kCount];
    Y* to[kBatch];
    int left[kBatch];  // columns of the group of columns that exist; none behind the last row
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int tile_row = first + (start + 32 * i) / kGroups, tile_column = (start + 32 * i) % kGroups * kCount;
      const int row = place.first_row + tile_row, column = place.first_column + tile_column;
      left[i] = row < gemm.rows ? gemm.columns - column : 0;
      to[i] = y + row * gemm.y_stride + column;
      load_columns(sums[i], [&](int j) {
        return load_sums<kIsSplit>(tile + tile_row * Tile::kPitch + tile_column + j, splits);
      });
#pragma unroll
      for (int j = 0; j < kCount; ++j) sums[i][j] += kIsBiasKept ? kept_bias[j] : bias[tile_column + j];
    }
    if (gemm.accumulate) {
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (left[i] > 0) add_columns(sums[i], to[i], left[i], kIsWhole);
      }
    }
    activate_all<Y, kActivation>(sums);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      scale_all(gemm, sums[i]);
      if (left[i] > 0) store_columns(to[i], sums[i], left[i], kIsWhole);
    }
  }
}

template <typename Y, Activation kActivation, typename Tile, bool kIsSplit>
__device__ void finish_tile(const Sm90Launch& launch, const Place& place, const float* tile, const float* bias) {
  if (launch.are_groups_stored) {
    finish_rows<Y, kActivation, Tile, kIsSplit, true>(launch, place, tile, bias);
  } else {
    finish_rows<Y, kActivation, Tile, kIsSplit, false>(launch, place, tile, bias);
  }
}

// A kernel for each type of y and each activation, so that it is short: docs/kernels/linear.md.
template <typename T, typename Y, Activation kActivation, typename Tile, bool kIsSplit>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    gemm_sm90_kernel(const __grid_constant__ Sm90Launch launch) {
  const Pipeline<Tile> pipeline;
  const Place place = place_of<Tile, kIsSplit>(launch);
  const Steps steps = steps_of<kIsSplit>(launch, place.rank);
  const int warp = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / 32, 0);
  const bool is_producer = warp >= Tile::kWarpgroups * 4;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Tile::kStages; ++i) {
      ptx::mbarrier_init(pipeline.full + i, 2);
      ptx::mbarrier_init(pipeline.empty + i, 4 * Tile::kWarpgroups);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  float* const tile = reinterpret_cast<float*>(pipeline.stages);
  if (is_producer) {
    if (threadIdx.x % 32 == 0) {
      const bool is_of_rows = warp == Tile::kWarpgroups * 4;
      launch.is_pointwise ? produce<true>(launch, pipeline, place, steps, is_of_rows)
                          : produce<false>(launch, pipeline, place, steps, is_of_rows);
    }
    __syncwarp();
  } else {
    load_bias<Tile::kColumns, Tile::kWarpgroups * kWarpgroup>(launch.gemm, place.group, place.first_column,
                                                              pipeline.bias, static_cast<int>(threadIdx.x));
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
  if constexpr (kIsSplit) ptx::cluster_barrier();
  if (!is_producer) {
    finish_tile<Y, kActivation, Tile, kIsSplit>(launch, place, tile, pipeline.bias);
  }
  if constexpr (kIsSplit) ptx::cluster_barrier();  // others may still read this block's sums
}

template <typename T, typename Tile, bool kIsSplit>
void start(const char* name, const Gemm& gemm, int splits, CudaStream stream) {
  Sm90Launch parameters{};
  static_cast<Sm90Operands&>(parameters) = sm90_operands(gemm, Tile::kRows, Tile::kStep);
  parameters.splits = splits;
  parameters.are_groups_stored = are_groups_stored(gemm, gemm.y_dtype == DType::f32 ? 4 : 8);
  parameters.by_splits = Divisor(splits);
  const int row_tiles = (gemm.rows + Tile::kRows - 1) / Tile::kRows;
  const int column_tiles = (gemm.columns + Tile::kColumns - 1) / Tile::kColumns;
  parameters.by_row_tiles = Divisor(row_tiles);
  parameters.by_column_tiles = Divisor(column_tiles);
  parameters.weight = matrix_map(gemm.weight, gemm.dtype, std::int64_t{gemm.groups} * gemm.columns, gemm.weight_stride,
                                 gemm.weight_stride, Tile::kColumns, Tile::kStep);
  const std::int64_t blocks = std::int64_t{row_tiles} * column_tiles * gemm.groups * splits;
  with_result<T>(gemm, [&]<typename Y, Activation kActivation>() {
    launch(name, gemm_sm90_kernel<T, Y, kActivation, Tile, kIsSplit>, blocks, Tile::kThreads, Tile::kBytes, stream,
           parameters, splits);
  });
}

template <typename T>
void start_tile(const char* name, const TileShape& tile, const Gemm& gemm, CudaStream stream) {
  const auto is = [&](int rows, int columns) { return tile.rows == rows && tile.columns == columns; };
  if (tile.splits > 1) {
    if (is(64, 64)) return start<T, Tile<64, 64, 6, 2>, true>(name, gemm, tile.splits, stream);
    if (is(128, 64)) return start<T, Tile<128, 64, 4, 2>, true>(name, gemm, tile.splits, stream);
    return start<T, Tile<128, 128, 3, 2>, true>(name, gemm, tile.splits, stream);
  }
  if (is(64, 32)) return start<T, Tile<64, 32, 6, 2>, false>(name, gemm, tile.splits, stream);
  if (is(64, 64) && tile.stages == 4) return start<T, Tile<64, 64, 4, 3>, false>(name, gemm, tile.splits, stream);
  if (is(64, 64)) return start<T, Tile<64, 64, 6, 2>, false>(name, gemm, tile.splits, stream);
  if (is(128, 32)) return start<T, Tile<128, 32, 9, 2, 32>, false>(name, gemm, tile.splits, stream);
  if (is(128, 64) && tile.step == 32) return start<T, Tile<128, 64, 9, 2, 32>, false>(name, gemm, tile.splits, stream);
  if (is(128, 64)) return start<T, Tile<128, 64, 4, 2>, false>(name, gemm, tile.splits, stream);
  if (is(128, 128)) return start<T, Tile<128, 128, 3, 2>, false>(name, gemm, tile.splits, stream);
  start<T, Tile<128, 256, 4, 1>, false>(name, gemm, tile.splits, stream);
}

}  // namespace

bool can_run_sm90(const Gemm& gemm) {
  if (gemm.dtype == DType::f32 || !is_gather_aligned(gemm)) return false;
  if (gemm.groups > 1 && gemm.channels % 64 != 0) return false;
  // The limits of tensor maps that read pixels.
  return gemm.is_pointwise() ||
         (gemm.stride <= 8 && gemm.padding < 128 && gemm.kernel_height < 128 && gemm.kernel_width < 128);
}

void gemm_sm90(const char* name, const Gemm& gemm, const MatmulContext& context) {
  const TileShape& tile = context.tile < 0 ? choose_sm90_tile(as_planned(gemm, context.plan))
                                           : sm90_tiles()[static_cast<std::size_t>(context.tile % kSm90Tiles)];
  if (tile.kernel != TileKernel::single) return gemm_sm90_persistent(name, gemm, tile, context);
  if (gemm.dtype == DType::f16) return start_tile<__half>(name, tile, gemm, context.stream);
  start_tile<__nv_bfloat16>(name, tile, gemm, context.stream);
}

}  // namespace vistazo::cuda
