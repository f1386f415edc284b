// The product of f16 and bf16 operands on compute capability 9.0 for many rows: as many blocks as multiprocessors,
// which go through tiles one after the other, so that everything behind a tile's sums happens while other tiles are
// multiplied. One thread of a warpgroup of its own copies; two or three warpgroups multiply 64 rows each and write y
// from their registers. Two kinds:
//
// kept: the weight of a column of tiles stays in shared memory, all steps along k of it, and the block goes through
// tiles of 64 rows. Each belongs to one warpgroup, and warpgroups multiply in turns: while one finishes a tile, the
// others have theirs.
//
// streamed: a tile has 64 rows for each warpgroup, and a stage of the ring the step of both operands, which all read.
// They wait for each other only where the ring ends: the first starts some steps ahead of the second, and while it
// finishes its tile, the other multiplies alone.
//
// A thread of a product's 64 rows gets pairs of columns, 8 columns apart. The copy engine exchanges the weight's rows
// on their way so that these pairs are neighbours in y: a thread reads and writes 16 bytes of y at once and no sum
// changes its thread.
//
// Limited by the tensor cores where k is long, by y where it is short; with GELU, by instructions.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/base/check_cuda.h"
#include "kernels/base/error.h"
#include "kernels/cuda/dynamic_shared.cuh"
#include "kernels/cuda/gemm/epilogue.cuh"
#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/gemm/sm90_operands.cuh"
#include "kernels/cuda/gemm/tiles.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/bar_sync.cuh"
#include "kernels/cuda/ptx/cp_async_bulk_tensor.cuh"
#include "kernels/cuda/ptx/mbarrier.cuh"
#include "kernels/cuda/ptx/setmaxnreg.cuh"
#include "kernels/cuda/ptx/wgmma.cuh"
#include "kernels/cuda/warp.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kStep = 64, kRowBytes = 2 * kStep;
constexpr int kBarrierBytes = 1024;
constexpr int kProducers = 4;  // threads that start copies, one of each warp of their warpgroup

struct PersistentLaunch : Sm90Operands {
  int row_tiles, columns;         // of tiles; columns of all groups
  Divisor by_column_tiles;        // of one group
  int row_stride, column_stride;  // in tiles, from one of a block to its next
  int stages;
  int lead;          // steps that a warpgroup starts before it is the next one's turn
  int weight_shift;  // rows of the weight whose order is exchanged together, as a power of 2
};

// What the compiler must know.
template <typename Element, int kColumnTile, int kConsumers, bool kIsWeightKept>
struct Config {
  using T = Element;
  static constexpr bool kIsKept = kIsWeightKept;
  static constexpr int kColumns = kColumnTile, kWarpgroups = kConsumers;
  static constexpr int kReaders = kIsKept ? 1 : kWarpgroups;  // warpgroups that read a stage
  static constexpr int kRows = 64 * kReaders;
  static constexpr int kThreads = (kWarpgroups + 1) * kWarpgroup;
  static constexpr int kXBytes = kRows * kRowBytes, kWeightBytes = kColumns * kRowBytes;  // of a step
  static constexpr int kStageBytes = kXBytes + (kIsKept ? 0 : kWeightBytes);
  static constexpr int kBiasBytes = 4 * kColumns * kReaders;  // a kept weight has one bias
  // All registers of a multiprocessor.
  static constexpr int kCopyRegisters = 24, kComputeRegisters = kWarpgroups == 2 ? 240 : 160;
  using Sums = float[kColumns / 8][4];
};

// Shared memory: kept weight, stages, barriers, bias.
template <typename C>
struct Shared {
  unsigned char *weight, *stages;
  ptx::Barrier *full, *empty;
  ptx::Barrier *turn, *full_weight;
  float* bias;

  __device__ explicit Shared(const PersistentLaunch& launch) {
    unsigned char* const bytes = dynamic_shared();
    weight = bytes + (kSharedAlignment - ptx::shared_address(bytes) % kSharedAlignment) % kSharedAlignment;
    stages = weight + (C::kIsKept ? launch.steps * C::kWeightBytes : 0);
    unsigned char* const end = stages + launch.stages * C::kStageBytes;
    full = reinterpret_cast<ptx::Barrier*>(end);
    empty = full + launch.stages;
    turn = empty + launch.stages;
    full_weight = turn + C::kWarpgroups;
    bias = reinterpret_cast<float*>(end + kBarrierBytes);
  }
};

// Where a step lies in the ring; steps are counted over all tiles of the block.
struct RingPlace {
  int stage = 0, parity = 0;

  __device__ void advance(int stages) {
    if (++stage < stages) return;
    stage = 0;
    parity ^= 1;
  }
  __device__ void skip(int steps, int stages) {
    for (stage += steps; stage >= stages; stage -= stages) parity ^= 1;
  }
};

// Tiles are counted along rows of tiles and dealt to the blocks in turn: blocks that run at the same time read the same
// rows. Where the weight is kept, the number of blocks is a multiple of the columns, and all tiles of a block are in
// one.
struct TileCursor {
  int row, column;

  __device__ explicit TileCursor(const PersistentLaunch& launch) {
    const int index = static_cast<int>(blockIdx.x);
    row = index / launch.columns;
    column = index - row * launch.columns;
  }
  __device__ void advance(const PersistentLaunch& launch) {
    row += launch.row_stride;
    column += launch.column_stride;
    if (column < launch.columns) return;
    column -= launch.columns;
    ++row;
  }
  __device__ bool exists(const PersistentLaunch& launch) const { return row < launch.row_tiles; }
};

// Where a tile lies.
template <typename C>
struct TilePlace {
  int first_row, first_column, group;

  __device__ TilePlace(const PersistentLaunch& launch, const TileCursor& tile) : first_row(tile.row * C::kRows) {
    const auto column = launch.by_column_tiles.divide(tile.column);
    group = column.quotient;
    first_column = column.rest * C::kColumns;
  }
};

// One of the threads that start copies. Starting one takes a few hundred cycles, as long as its products, so several
// share the steps of all tiles: each has every fourth stage of the ring. A stage stays with its thread, which has
// waited for every phase before the one it waits for: the parity alone would not tell them apart. A kept weight, or the
// first steps of a streamed one, does not wait for the kernel in front, which writes none.
template <typename C, bool kIsPointwise>
__device__ void produce(const PersistentLaunch& launch, const Shared<C>& shared, int producer) {
  TileCursor tile(launch);
  int stage = producer, parity = 0, step = producer;
  if (stage >= launch.stages) return;
  const auto copy_weight = [&](const TilePlace<C>& place, int of) {
    ptx::Barrier* const barrier = C::kIsKept ? shared.full_weight + of : shared.full + stage;
    unsigned char* const to =
        C::kIsKept ? shared.weight + of * C::kWeightBytes : shared.stages + stage * C::kStageBytes + C::kXBytes;
    const int row = place.group * launch.gemm.columns + place.first_column;
    ptx::mbarrier_arrive_expect_tx(barrier, C::kIsKept ? C::kWeightBytes : C::kStageBytes);
    ptx::cp_async_bulk_tensor_5d(to, &launch.weight, Tap<kIsPointwise>(launch, of).k(launch, kStep), 0, 0, 0,
                                 row >> launch.weight_shift, barrier);
  };
  const bool is_early = step < launch.steps;
  const int early = C::kIsKept ? launch.steps : min(launch.steps, step + 1);
#pragma unroll 1
  for (int i = step; i < early; i += kProducers) copy_weight(TilePlace<C>(launch, tile), i);
  dependent_launch();
  for (int n = producer;;) {  // steps of all tiles
    for (; step >= launch.steps; step -= launch.steps) tile.advance(launch);
    if (!tile.exists(launch)) return;
    const TilePlace<C> place(launch, tile);
    ptx::mbarrier_sleep(shared.empty + stage, parity ^ 1);
    ptx::Barrier* const barrier = shared.full + stage;
    if constexpr (C::kIsKept) {
      ptx::mbarrier_arrive_expect_tx(barrier, C::kXBytes);
    } else if (n > producer || !is_early) {
      copy_weight(place, step);
    }
    copy_rows(launch, shared.stages + stage * C::kStageBytes, RowCorner<kIsPointwise>(launch, place.first_row),
              place.group, Tap<kIsPointwise>(launch, step), kStep, barrier);
    const bool is_last = stage + kProducers >= launch.stages;  // of the thread's stages
    const int ahead = is_last ? launch.stages - stage + producer : kProducers;
    stage = is_last ? producer : stage + kProducers;
    parity ^= is_last ? 1 : 0;
    step += ahead;
    n += ahead;
  }
}

// A thread's part of y: groups of kGroup neighbouring columns, 4 * kGroup apart, of two rows. Of the group's element
// 2 i + e the sum is sums[kPairs * q + i][2 * r + e], for set q of columns and row r of the two.
template <typename C, typename Y>
struct OwnColumns {
  static constexpr int kGroup = 16 / sizeof(Y), kPairs = kGroup / 2, kSets = C::kColumns / (8 * kPairs);
  using Values = uint4[kSets][2];  // as they come: who takes them apart waits for them

  Y* rows[2];
  bool exists[2];
  int first;  // column of the tile
  int sets;   // that exist

  __device__ OwnColumns(const Gemm& gemm, const TilePlace<C>& place, int warpgroup_row) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
    first = lane % 4 * kGroup;
    sets = (gemm.columns - place.first_column) / (8 * kPairs);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = place.first_row + warpgroup_row + 16 * warp + lane / 4 + 8 * r;
      exists[r] = row < gemm.rows;
      rows[r] = static_cast<Y*>(gemm.y) + row * gemm.y_stride + place.group * gemm.columns + place.first_column + first;
    }
  }

  // All of y is on its way before the first of it is waited for.
  __device__ void load(Values& y) const {
#pragma unroll
    for (int q = 0; q < kSets; ++q) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (exists[r] && q < sets) y[q][r] = *reinterpret_cast<const uint4*>(rows[r] + q * 8 * kPairs);
      }
    }
  }

  __device__ void start(const float* bias, typename C::Sums& sums) const {
#pragma unroll
    for (int q = 0; q < kSets; ++q) {
      float x[kGroup];
      load_group(x, bias + first + q * 8 * kPairs);
#pragma unroll
      for (int i = 0; i < 2 * kGroup; ++i) {
        const int r = i / kGroup, j = i % kGroup;
        sums[kPairs * q + j / 2][2 * r + j % 2] = x[j];
      }
    }
  }
  __device__ static void add(const Values& y, typename C::Sums& sums) {
#pragma unroll
    for (int q = 0; q < kSets; ++q) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        std::uint32_t words[4] = {y[q][r].x, y[q][r].y, y[q][r].z, y[q][r].w};
        // Otherwise the halves of a word were taken apart where it is loaded.
#pragma unroll
        for (std::uint32_t& word : words) asm volatile("" : "+r"(word));
        Group<Y, kGroup> group;
        std::memcpy(&group, words, sizeof(group));
#pragma unroll
        for (int j = 0; j < kGroup; ++j) sums[kPairs * q + j / 2][2 * r + j % 2] += to_float(group.values[j]);
      }
    }
  }

  // y = post_scale * activation(sums) + post_bias, a set of columns after the other: all at once would need more
  // registers than there are.
  template <Activation kActivation>
  __device__ void finish(const Gemm& gemm, const typename C::Sums& sums) const {
    const bool is_scaled = gemm.post_scale != 1.0f || gemm.post_bias != 0.0f;
    // For silu of so many columns the compiler finds the registers only where it does not know that it is silu.
    constexpr bool kIsKnown = C::kColumns <= 192 || kActivation != Activation::silu;
#pragma unroll
    for (int q = 0; q < kSets; ++q) {
      float x[2][kGroup];
#pragma unroll
      for (int r = 0; r < 2; ++r) gather(x[r], sums, q, r);
      if constexpr (kIsKnown) {
        activate_all<Y, kActivation>(x);
      } else {
        activate_all<Y>(x, gemm.activation);
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (is_scaled) scale_all(gemm, x[r]);
        if (exists[r] && q < sets) store_columns(rows[r] + q * 8 * kPairs, x[r], kGroup, true);
      }
    }
  }

 private:
  __device__ static void gather(float (&x)[kGroup], const typename C::Sums& sums, int q, int r) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) x[i] = sums[kPairs * q + i / 2][2 * r + i % 2];
  }
};

// Adds the products of a warpgroup's i-th tile, whose steps are in the ring from `at` on, and leaves `at` behind them.
//
// Warpgroups take turns. Where each has tiles of its own, always: who waits at a barrier can tell a phase only from the
// one before, so nobody may wait for a stage that others must have used first; and a tile done by itself is done early.
// Where they share tiles, only for the first: from then on, those that multiply while another finishes a tile keep the
// distance.
template <typename C>
__device__ void add_products(const PersistentLaunch& launch, const Shared<C>& shared, int warpgroup, int i,
                             RingPlace& at, typename C::Sums& sums) {
  const bool is_first_lane = threadIdx.x % 32 == 0, has_turn = C::kIsKept || i == 0;
  const int next = warpgroup + 1 < C::kWarpgroups ? warpgroup + 1 : 0;
  const std::uint64_t first_a =
      ptx::wgmma_descriptor<kRowBytes>(shared.stages + (C::kIsKept ? 0 : 64 * warpgroup) * kRowBytes);
  const std::uint64_t first_b =
      ptx::wgmma_descriptor<kRowBytes>(C::kIsKept ? shared.weight : shared.stages + C::kXBytes);
  const int lead = has_turn ? launch.lead : 0;
  // The first warpgroup's first turn is there from the start.
  if (has_turn) ptx::mbarrier_wait(shared.turn + warpgroup, (i + (warpgroup == 0 ? 1 : 0)) % 2);
  const auto multiply_step = [&](int step) {
    if (C::kIsKept && i == 0) ptx::mbarrier_wait(shared.full_weight + step, 0);
    ptx::mbarrier_wait(shared.full + at.stage, at.parity);
    const std::uint64_t a = ptx::advance(first_a, at.stage * C::kStageBytes);
    const std::uint64_t b = ptx::advance(first_b, C::kIsKept ? step * C::kWeightBytes : at.stage * C::kStageBytes);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kStep; k += 16) {
      multiply<typename C::T>(sums, ptx::advance(a, 2 * k), ptx::advance(b, 2 * k), true);
    }
    ptx::wgmma_commit();
    if (step + 1 == lead && is_first_lane) ptx::mbarrier_arrive(shared.turn + next);
  };
  ptx::hold(sums);
  multiply_step(0);
#pragma unroll 1
  for (int step = 1; step < launch.steps; ++step) {
    ptx::Barrier* const before = shared.empty + at.stage;
    at.advance(launch.stages);
    multiply_step(step);
    ptx::wgmma_wait<1>();
    if (is_first_lane) ptx::mbarrier_arrive(before);
  }
  ptx::wgmma_wait<0>();
  if (is_first_lane) ptx::mbarrier_arrive(shared.empty + at.stage);
  at.advance(launch.stages);
  ptx::hold(sums);
}

// A warpgroup's tiles, or its rows of all tiles of the block.
//
// What y holds is added behind the products where registers keep it meanwhile. Otherwise the sums begin with it.
template <typename C, typename Y, Activation kActivation, bool kIsAdded>
__device__ void consume(const PersistentLaunch& launch, const Shared<C>& shared, int warpgroup) {
  using Own = OwnColumns<C, Y>;
  constexpr int kSumRegisters = C::kColumns / 2, kOtherRegisters = 60;
  constexpr int kRegisters = kSumRegisters + kSumRegisters * static_cast<int>(sizeof(Y)) / 4 + kOtherRegisters;
  constexpr bool kIsKeptApart = kIsAdded && kRegisters <= C::kComputeRegisters;
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
  float* const bias = shared.bias + (C::kIsKept ? 0 : warpgroup * C::kColumns);
  int known_column = -1;  // whose bias is there
  TileCursor tile(launch);
  RingPlace at;
  if constexpr (C::kIsKept) {
    for (int n = 0; n < warpgroup; ++n) tile.advance(launch);
    at.skip(warpgroup * launch.steps, launch.stages);
  }
#pragma unroll 1
  for (int i = 0; tile.exists(launch); ++i) {
    const TilePlace<C> place(launch, tile);
    if (const int column = place.group * launch.gemm.columns + place.first_column;
        !C::kIsKept && column != known_column) {
      ptx::named_barrier<kWarpgroup>(1 + warpgroup);  // everybody has read the bias before
      load_bias<C::kColumns, kWarpgroup>(launch.gemm, place.group, place.first_column, bias, thread);
      ptx::named_barrier<kWarpgroup>(1 + warpgroup);
      known_column = column;
    }
    const Own own(launch.gemm, place, C::kIsKept ? 0 : 64 * warpgroup);
    typename Own::Values y = {};
    if constexpr (kIsAdded) own.load(y);
    typename C::Sums sums;
    own.start(bias, sums);
    if constexpr (kIsAdded && !kIsKeptApart) own.add(y, sums);
    add_products<C>(launch, shared, warpgroup, i, at, sums);
    if constexpr (kIsKeptApart) own.add(y, sums);
    own.template finish<kActivation>(launch.gemm, sums);
    tile.advance(launch);
    if constexpr (C::kIsKept) {
      for (int n = 1; n < C::kWarpgroups; ++n) tile.advance(launch);
      at.skip((C::kWarpgroups - 1) * launch.steps, launch.stages);
    }
  }
}

// A kernel for each type of y and each thing that is done behind the sums, so that all are short: a pass takes longer
// with long ones, whether or not their instructions run (docs/kernels/linear.md).
template <typename C, typename Y, Activation kActivation, bool kIsAdded>
__global__ void __launch_bounds__(C::kThreads, 1)
    gemm_persistent_kernel(const __grid_constant__ PersistentLaunch launch) {
  const Shared<C> shared(launch);
  // The same for all threads of a warp, and known to be.
  const int warpgroup = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kWarpgroup, 0);
  if (threadIdx.x == 0) {
    for (int i = 0; i < launch.stages; ++i) {
      ptx::mbarrier_init(shared.full + i, 1);
      ptx::mbarrier_init(shared.empty + i, 4 * C::kReaders);
    }
    for (int i = 0; i < C::kWarpgroups; ++i) ptx::mbarrier_init(shared.turn + i, 4);
    for (int i = 0; C::kIsKept && i < launch.steps; ++i) ptx::mbarrier_init(shared.full_weight + i, 1);
    ptx::fence_mbarrier_init();
  }
  if constexpr (C::kIsKept) {
    const TilePlace<C> place(launch, TileCursor(launch));
    load_bias<C::kColumns, C::kThreads>(launch.gemm, place.group, place.first_column, shared.bias,
                                        static_cast<int>(threadIdx.x));
  }
  __syncthreads();
  if (warpgroup == C::kWarpgroups) {
    ptx::setmaxnreg_dec<C::kCopyRegisters>();
    const int producer = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / 32, 0) % kProducers;
    if (threadIdx.x % 32 == 0) {
      ptx::prefetch_tensormap(&launch.weight);
      ptx::prefetch_tensormap(&launch.x);
      launch.is_pointwise ? produce<C, true>(launch, shared, producer) : produce<C, false>(launch, shared, producer);
    }
  } else {
    ptx::setmaxnreg_inc<C::kComputeRegisters>();
    dependent_launch();
    consume<C, Y, kActivation, kIsAdded>(launch, shared, warpgroup);
  }
}

template <typename C>
void start(const char* name, const Gemm& gemm, int stages, int multiprocessors, CudaStream stream) {
  static_assert(kKeptStageBytes == 64 * kRowBytes);
  PersistentLaunch parameters{};
  static_cast<Sm90Operands&>(parameters) = sm90_operands(gemm, C::kRows, kStep);
  const int pairs = pairs_of(gemm.y_dtype);
  parameters.weight_shift = std::countr_zero(static_cast<unsigned>(8 * pairs));
  parameters.weight = exchanged_rows_map(gemm.weight, gemm.dtype, std::int64_t{gemm.groups} * gemm.columns,
                                         gemm.weight_stride, gemm.weight_stride, C::kColumns, pairs);
  parameters.row_tiles = (gemm.rows + C::kRows - 1) / C::kRows;
  const int column_tiles = (gemm.columns + C::kColumns - 1) / C::kColumns;
  parameters.by_column_tiles = Divisor(column_tiles);
  parameters.columns = column_tiles * gemm.groups;
  const int kept_bytes = C::kIsKept ? parameters.steps * C::kWeightBytes : 0;
  constexpr int kMostBarriers = kBarrierBytes / static_cast<int>(sizeof(ptx::Barrier));
  parameters.stages = C::kIsKept ? std::min((kSharedBytes - kKeptFixedBytes - kept_bytes) / C::kStageBytes,
                                            (kMostBarriers - C::kWarpgroups - parameters.steps) / 2)
                                 : stages;
  parameters.lead =
      C::kIsKept ? parameters.steps : std::min((parameters.stages - 1) / (C::kWarpgroups - 1), parameters.steps);
  std::int64_t blocks = std::min(multiprocessors, parameters.row_tiles * parameters.columns);
  if constexpr (C::kIsKept) {
    blocks = std::clamp(multiprocessors / parameters.columns, 1, parameters.row_tiles) * parameters.columns;
  }
  parameters.row_stride = static_cast<int>(blocks) / parameters.columns;
  parameters.column_stride = static_cast<int>(blocks) % parameters.columns;
  const int bytes = kSharedAlignment + kept_bytes + parameters.stages * C::kStageBytes + kBarrierBytes + C::kBiasBytes;
  const auto go = [&](auto* kernel) {
    launch(name, kernel, blocks, C::kThreads, static_cast<std::size_t>(bytes), stream, parameters);
  };
  with_result<typename C::T>(gemm, [&]<typename Y, Activation kActivation>() {
    gemm.accumulate ? go(gemm_persistent_kernel<C, Y, kActivation, true>)
                    : go(gemm_persistent_kernel<C, Y, kActivation, false>);
  });
}

template <typename T>
void start_tile(const char* name, const Gemm& gemm, const TileShape& tile, int multiprocessors, CudaStream stream) {
  const auto go = [&]<typename C>(C) { start<C>(name, gemm, tile.stages, multiprocessors, stream); };
  if (tile.kernel == TileKernel::kept) {
    if (tile.columns == 64) return go(Config<T, 64, 3, true>{});
    if (tile.columns == 128) return go(Config<T, 128, 3, true>{});
    if (tile.columns == 192) return go(Config<T, 192, 3, true>{});
    return go(Config<T, 256, 2, true>{});
  }
  if (tile.columns == 128) return go(Config<T, 128, 2, false>{});
  if (tile.columns == 256) return go(Config<T, 256, 2, false>{});
  if (tile.rows == 128) return go(Config<T, 192, 2, false>{});
  go(Config<T, 192, 3, false>{});
}

}  // namespace

void gemm_sm90_persistent(const char* name, const Gemm& gemm, const TileShape& tile, const MatmulContext& context) {
  if (!can_run(tile, gemm)) {
    fail(Error::Code::unsupported,
         "{}: the forced tile of {} x {} cannot multiply {} columns of {} x {} products: it wants y in groups of 16 "
         "aligned bytes, columns in multiples of {}{}",
         name, tile.rows, tile.columns, gemm.columns, gemm.kernel_height * gemm.kernel_width, gemm.channels,
         8 * pairs_of(gemm.y_dtype), tile.kernel == TileKernel::kept ? ", and a weight that shared memory holds" : "");
  }
  int device = 0, multiprocessors = context.multiprocessors;
  if (multiprocessors == 0) {
    check_cuda(cudaGetDevice(&device), "cudaGetDevice");
    check_cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
               "cudaDeviceGetAttribute");
  }
  if (gemm.dtype == DType::f16) return start_tile<__half>(name, gemm, tile, multiprocessors, context.stream);
  start_tile<__nv_bfloat16>(name, gemm, tile, multiprocessors, context.stream);
}

}  // namespace vistazo::cuda
