// Attention of f16 and bf16 on Hopper: wgmma, bulk tensor copies and warpgroups with roles, after FlashAttention-3
// (Shah et al. 2024, arXiv:2407.08608).
//
// A block has one warpgroup that copies and kConsumers that compute. An item is 64 * kConsumers queries of one (batch
// entry, head); blocks go through the items in strides of the grid. A consumer owns 64 queries and shares with the
// others only the tiles of K and V, which pass through a ring of kStages: it waits for nobody but the copies, so while
// one computes weights the products of the others run, and the next item's tiles arrive during an epilogue. Q and K are
// read from shared memory; S, the weights and the output stay in registers, for the layout of S is that of the left
// operand of P V.
//
// Where there are fewer items than multiprocessors, a cluster of blocks shares an item: each takes a range of the keys,
// and at the end all read the others' sums from their shared memory and write a part of the output each, adding in the
// order of the ranks.
//
// Keys beyond the last are zeros, as the copies bring them, and masked; the tile that holds the end of the keys goes
// first and is computed in 32, 64, 96 or all of its columns. Other tiles need no mask, and no maximum either: weights
// are computed with the shift as it is, and only if a sum shows that some were large are they computed again with the
// largest score for a shift.
//
// At dimension 64 the limits are the tensor cores (16 products of 64 x 8 x 16 for 64 x 64 scores at 8 cycles) and the
// exponentials (16 a cycle) alike, at 32 the latter.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/cuda/attention/sm90_items.cuh"
#include "kernels/cuda/attention/sm90_output.cuh"
#include "kernels/cuda/attention/sm90_softmax.cuh"
#include "kernels/cuda/attention/tensor_maps.h"
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/dynamic_shared.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/cluster.cuh"
#include "kernels/cuda/ptx/cp_async_bulk_tensor.cuh"
#include "kernels/cuda/ptx/mbarrier.cuh"
#include "kernels/cuda/ptx/setmaxnreg.cuh"
#include "kernels/cuda/ptx/wgmma.cuh"

namespace vistazo::cuda {
namespace hopper {
namespace {

template <typename C>
__device__ void copy_panels(unsigned char* shared, const CUtensorMap& map, int rows, int head, int token, int batch,
                            ptx::Barrier* barrier) {
#pragma unroll
  for (int panel = 0; panel < C::kPanels; ++panel) {
    ptx::cp_async_bulk_tensor_4d(shared + panel * rows * C::kPanelBytes, &map, panel * C::kPanelColumns, head, token,
                                 batch, barrier);
  }
}

// One thread copies K and V, another Q.
template <typename C>
__device__ void copy_keys_and_values(const Sm90Launch& x, unsigned char* shared, Barriers<C>& barriers) {
  unsigned char* const shared_keys = shared + C::kConsumers * C::kQueryBytes;
  unsigned char* const shared_values = shared_keys + C::kStages * C::kTileBytes;
  int n = 0;
#pragma unroll 1
  for (int item = ptx::cluster_index(); item < x.items; item += x.clusters) {
    const Work work(x, item, C::kQueries);
#pragma unroll 1
    for (int i = 0; i < work.tiles; ++i, ++n) {
      const Place<C::kStages> place(n);
      const int s = place.stage, key = work.tile(i) * C::kTileKeys;
      ptx::mbarrier_wait(&barriers.empty_keys[s], place.parity ^ 1);
      ptx::mbarrier_arrive_expect_tx(&barriers.full_keys[s], C::kTileBytes);
      copy_panels<C>(shared_keys + s * C::kTileBytes, x.maps.k, C::kTileKeys, work.head, key, work.batch,
                     &barriers.full_keys[s]);
      ptx::mbarrier_wait(&barriers.empty_values[s], place.parity ^ 1);
      ptx::mbarrier_arrive_expect_tx(&barriers.full_values[s], C::kTileBytes);
      copy_panels<C>(shared_values + s * C::kTileBytes, x.maps.v, C::kTileKeys, work.head, key, work.batch,
                     &barriers.full_values[s]);
    }
  }
}

template <typename C>
__device__ void copy_queries(const Sm90Launch& x, unsigned char* shared, Barriers<C>& barriers) {
  int parity = 0;
#pragma unroll 1
  for (int item = ptx::cluster_index(); item < x.items; item += x.clusters, parity ^= 1) {
    const Work work(x, item, C::kQueries);
#pragma unroll 1
    for (int consumer = 0; consumer < C::kConsumers; ++consumer) {
      ptx::mbarrier_wait(&barriers.empty_queries[consumer], parity ^ 1);
      ptx::mbarrier_arrive_expect_tx(&barriers.full_queries[consumer], C::kQueryBytes);
      copy_panels<C>(shared + consumer * C::kQueryBytes, x.maps.q, kRows, work.head,
                     work.first_query + consumer * kRows, work.batch, &barriers.full_queries[consumer]);
    }
  }
}

template <typename T, int kTiles>
__device__ void multiply(float (&d)[kTiles][4], std::uint64_t a, std::uint64_t b, bool is_added) {
  if constexpr (std::is_same_v<T, __half>) {
    ptx::wgmma_f32_f16(d, a, b, is_added);
  } else {
    ptx::wgmma_f32_bf16(d, a, b, is_added);
  }
}
template <typename T, int kTiles>
__device__ void multiply(float (&d)[kTiles][4], const std::uint32_t (&a)[4], std::uint64_t b, bool is_added) {
  if constexpr (std::is_same_v<T, __half>) {
    ptx::wgmma_f32_f16(d, a[0], a[1], a[2], a[3], b, is_added);
  } else {
    ptx::wgmma_f32_bf16(d, a[0], a[1], a[2], a[3], b, is_added);
  }
}

// Starts scores (64 x 8 kTiles) = Q K^T.
template <typename C, int kTiles>
__device__ void multiply_keys(float (&scores)[kTiles][4], const unsigned char* queries, const unsigned char* keys) {
  ptx::hold(scores);
  ptx::wgmma_fence();
#pragma unroll
  for (int d = 0; d < C::kDim; d += 16) {
    const int panel = d / C::kPanelColumns, bytes = d % C::kPanelColumns * 2;
    multiply<typename C::T>(
        scores, ptx::advance(ptx::wgmma_descriptor<C::kPanelBytes>(queries), panel * kRows * C::kPanelBytes + bytes),
        ptx::advance(ptx::wgmma_descriptor<C::kPanelBytes>(keys), panel * C::kTileKeys * C::kPanelBytes + bytes),
        d > 0);
  }
  ptx::wgmma_commit();
}

// Starts out (64 x kDim) += P V.
template <typename C, int kBlocks>
__device__ void multiply_values(float (&out)[C::kDim / 8][4], std::uint32_t (&p)[kBlocks][4],
                                const unsigned char* values) {
  ptx::hold(out);
  ptx::hold(p);
  ptx::wgmma_fence();
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    const std::uint64_t v = ptx::wgmma_descriptor<C::kPanelBytes>(values, C::kTileKeys * C::kPanelBytes);
    multiply<typename C::T>(out, p[n], ptx::advance(v, n * 16 * C::kPanelBytes), true);
  }
  ptx::wgmma_commit();
}

// One consumer: a warpgroup and the queries that it owns.
template <typename C>
struct Consumer {
  using T = typename C::T;
  using Scores = float[C::kTileKeys / 8][4];
  using Weights = std::uint32_t[C::kTileKeys / 16][4];
  using Out = float[C::kDim / 8][4];

  const Sm90Launch& x;
  Barriers<C>& barriers;
  unsigned char *queries, *keys;  // the values come behind the keys
  int index, warp, lane;
  int n = 0;  // the tile of the block whose keys come next

  // Once for every warp: it has read what the barrier guards.
  __device__ void release(ptx::Barrier& barrier) {
    if (lane == 0) ptx::mbarrier_arrive(&barrier);
  }
  __device__ void release_keys(int tile) { release(barriers.empty_keys[Place<C::kStages>(tile).stage]); }
  __device__ void release_values(int tile) { release(barriers.empty_values[Place<C::kStages>(tile).stage]); }

  template <int kTiles>
  __device__ void start_scores(float (&scores)[kTiles][4]) {
    const Place<C::kStages> place(n);
    ptx::mbarrier_wait(&barriers.full_keys[place.stage], place.parity);
    multiply_keys<C>(scores, queries, keys + place.stage * C::kTileBytes);
  }
  __device__ void start_values(Out& out, Weights& weights, int tile) {
    const Place<C::kStages> place(tile);
    ptx::mbarrier_wait(&barriers.full_values[place.stage], place.parity);
    multiply_values<C>(out, weights, keys + (C::kStages + place.stage) * C::kTileBytes);
  }
  // Waits for the scores, and for the products started before them.
  template <int kTiles>
  __device__ void finish_scores(float (&scores)[kTiles][4], bool is_last) {
    ptx::wgmma_wait<0>();
    ptx::hold(scores);
    release_keys(n);
    if (is_last) release(barriers.empty_queries[index]);
  }
  __device__ void finish_values(Out& out, Weights& weights, int tile) {
    ptx::wgmma_wait<0>();
    ptx::hold(out);
    ptx::hold(weights);
    release_values(tile);
  }
  __device__ void rescale(Out& out, const float (&correction)[2]) {
#pragma unroll
    for (int d = 0; d < C::kDim / 8; ++d) {
#pragma unroll
      for (int j = 0; j < 4; ++j) out[d][j] *= correction[j / 2];
    }
  }

  // Goes through the tiles without reading.
  __device__ void skip(int tiles) {
#pragma unroll 1
    for (int i = 0; i < tiles; ++i, ++n) {
      const Place<C::kStages> place(n);
      ptx::mbarrier_wait(&barriers.full_keys[place.stage], place.parity);
      release_keys(n);
      ptx::mbarrier_wait(&barriers.full_values[place.stage], place.parity);
      release_values(n);
    }
    release(barriers.empty_queries[index]);
  }

  // Weights of the first tile, which may hold the end of the keys: of its columns the first 8 kTiles are computed.
  template <int kTiles>
  __device__ void first_tile(int keys_left, bool is_last, Weights& weights, Rows& rows) {
    float scores[kTiles][4];
    start_scores(scores);
    finish_scores(scores, is_last);
    if (keys_left < kTiles * 8) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (t * 8 + (lane & 3) * 2 + (i & 1) >= keys_left) scores[t][i] = -INFINITY;
        }
      }
    }
    rows.weigh_first<T>(scores, weights);
#pragma unroll
    for (int block = kTiles / 2; block < C::kTileKeys / 16; ++block) {
#pragma unroll
      for (std::uint32_t& pair : weights[block]) pair = 0;
    }
    ++n;
  }

  // The product of the last tile's weights with V runs beside that of Q with the next tile's K and while its weights
  // are computed.
  __device__ void next_tile(bool is_last, Scores& scores, Weights& last, Weights& next, Out& out, Rows& rows) {
    float correction[2];
    const int behind = n - 1;
    start_scores(scores);
    start_values(out, last, behind);
    ptx::wgmma_wait<1>();
    ptx::hold(scores);
    release_keys(n);
    if (is_last) release(barriers.empty_queries[index]);
    const bool has_risen = rows.weigh_next<T>(scores, next, correction);
    finish_values(out, last, behind);
    if (has_risen) rescale(out, correction);
    ++n;
  }

  // Adds the products of all tiles to out, which is zero.
  __device__ void sum_values(int tiles, int keys_left, Out& out, Rows& rows) {
    Scores scores;
    Weights even;
    if (keys_left <= 32) {
      first_tile<4>(keys_left, tiles == 1, even, rows);
    } else if (keys_left <= 64) {
      first_tile<8>(keys_left, tiles == 1, even, rows);
    } else if (C::kTileKeys == 96 || keys_left <= 96) {
      first_tile<12>(keys_left, tiles == 1, even, rows);
    } else if constexpr (C::kTileKeys > 96) {
      first_tile<16>(keys_left, tiles == 1, even, rows);
    }
    Weights odd;
#pragma unroll 1
    for (int i = 1; i < tiles; i += 2) {
      next_tile(i + 1 == tiles, scores, even, odd, out, rows);
      if (i + 1 == tiles) {
        start_values(out, odd, n - 1);
        finish_values(out, odd, n - 1);
        return;
      }
      next_tile(i + 2 == tiles, scores, odd, even, out, rows);
    }
    start_values(out, even, n - 1);
    finish_values(out, even, n - 1);
  }

  __device__ void run(float* partials) {
    int phases = 0;  // bit 0: parity of the queries' barrier; bit 1: of those of the partial sums
#pragma unroll 1
    for (int item = ptx::cluster_index(); item < x.items; item += x.clusters, phases ^= 1) {
      const Work work(x, item, C::kQueries);
      ptx::mbarrier_wait(&barriers.full_queries[index], phases & 1);
      if (work.first_query + index * kRows >= x.launch.args.queries) {
        skip(work.tiles);
        continue;
      }
      Out out = {};
      Rows rows{.scale = x.launch.scale_log2};
      sum_values(work.tiles, min(x.launch.args.keys - work.tile(0) * C::kTileKeys, C::kTileKeys), out, rows);
      finish(item, out, rows, partials, phases);
    }
  }

  // Writes the item's output. All addresses are computed anew: kept, they would cost the loop over tiles registers.
  __device__ void finish(int item, const Out& out, const Rows& rows, float* partials, int& phases) {
    int own_index = index, own_thread = warp * 32 + lane;
    asm volatile("" : "+r"(item), "+r"(own_index), "+r"(own_thread));
    const Work work(x, item, C::kQueries);
    const int first_row = work.first_query + own_index * kRows;
    const float sum[2] = {row_sum(rows.sum[0]), row_sum(rows.sum[1])};
    const int ranks = ptx::cluster_blocks();
    if (ranks == 1) {
      store_rows<C>(x.launch.args, work, first_row, out, sum, own_thread);
      return;
    }
    float* const partial = partials + own_index * (C::kPartialBytes / 4);
    ptx::Barrier &ready = barriers.ready_partial[own_index], &free = barriers.free_partial[own_index];
    ptx::mbarrier_wait_cluster(&free, phases >> 1 ^ 1);
    store_partial<C>(partial, out, rows, sum, own_thread);
    __syncwarp();
    if (own_thread % 32 < ranks) ptx::mbarrier_arrive_cluster(&ready, own_thread % 32);
    ptx::mbarrier_wait_cluster(&ready, phases >> 1);
    combine<C>(x.launch.args, work, first_row, partial, ptx::cluster_rank(), ranks, own_thread);
    __syncwarp();
    if (own_thread % 32 < ranks) ptx::mbarrier_arrive_cluster(&free, own_thread % 32);
    phases ^= 2;
  }
};

template <typename C>
__device__ void initialize(Barriers<C>& barriers, int ranks) {
  constexpr int kWarps = kGroup / 32;
  for (int s = 0; s < C::kStages; ++s) {
    ptx::mbarrier_init(&barriers.full_keys[s], 1);
    ptx::mbarrier_init(&barriers.full_values[s], 1);
    ptx::mbarrier_init(&barriers.empty_keys[s], C::kConsumers * kWarps);
    ptx::mbarrier_init(&barriers.empty_values[s], C::kConsumers * kWarps);
  }
  for (int i = 0; i < C::kConsumers; ++i) {
    ptx::mbarrier_init(&barriers.full_queries[i], 1);
    ptx::mbarrier_init(&barriers.empty_queries[i], kWarps);
    ptx::mbarrier_init(&barriers.ready_partial[i], ranks * kWarps);
    ptx::mbarrier_init(&barriers.free_partial[i], ranks * kWarps);
  }
  ptx::fence_mbarrier_init();
}

template <typename C>
__global__ void __launch_bounds__(C::kThreads, C::kBlocks) attention_sm90_kernel(const __grid_constant__ Sm90Launch x) {
  unsigned char* const all_shared = dynamic_shared();
  const std::uint32_t misaligned = ptx::shared_address(all_shared) & 1023;
  unsigned char* const shared = all_shared + (misaligned == 0 ? 0 : 1024 - misaligned);
  float* const partials = reinterpret_cast<float*>(shared + C::kPartialAt);
  const int ranks = ptx::cluster_blocks();
  auto& barriers =
      *reinterpret_cast<Barriers<C>*>(shared + C::kPartialAt + (ranks > 1 ? C::kConsumers * C::kPartialBytes : 0));
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  if (thread == 0) {
    initialize(barriers, ranks);
    ptx::prefetch_tensormap(&x.maps.q);
    ptx::prefetch_tensormap(&x.maps.k);
    ptx::prefetch_tensormap(&x.maps.v);
  }
  ranks > 1 ? ptx::cluster_barrier() : __syncthreads();
  dependent_launch();

  // The same for all threads of a warp, and known to be.
  const int group = __shfl_sync(kWholeWarp, thread / kGroup, 0);
  if (group == 0) {
    ptx::setmaxnreg_dec<C::kCopyRegisters>();
    const int warp = __shfl_sync(kWholeWarp, thread / 32, 0);
    if (warp == 0 && lane == 0) copy_keys_and_values<C>(x, shared, barriers);
    if (warp == 1 && lane == 0) copy_queries<C>(x, shared, barriers);
    __syncwarp();
    if (ranks > 1) ptx::cluster_barrier();
  } else {
    ptx::setmaxnreg_inc<C::kComputeRegisters>();
    const int index = group - 1;
    Consumer<C> consumer{x,
                         barriers,
                         shared + index * C::kQueryBytes,
                         shared + C::kConsumers * C::kQueryBytes,
                         index,
                         __shfl_sync(kWholeWarp, thread / 32 % 4, 0),
                         lane};
    consumer.run(partials);
    // Others may still read this block's sums.
    if (ranks > 1) ptx::cluster_barrier();
  }
}

template <typename C>
void launch_kernel(const AttentionLaunch& parameters, const Sm90Choice& choice, CudaStream stream) {
  Sm90Launch x{};
  x.launch = parameters;
  x.launch.query_tiles = (parameters.args.queries + C::kQueries - 1) / C::kQueries;
  x.maps = make_tensor_maps(parameters.args, C::kPanelColumns, kRows, C::kTileKeys);
  x.key_tiles = (parameters.args.keys + C::kTileKeys - 1) / C::kTileKeys;
  const std::int64_t items = std::int64_t{parameters.args.batch} * parameters.args.heads * x.launch.query_tiles;
  if (items > std::numeric_limits<int>::max()) {
    fail(Error::Code::unsupported, "attention: {} blocks are more than a grid holds; split the batch", items);
  }
  const int split = std::min(choice.split, x.key_tiles);
  x.items = static_cast<int>(items);
  x.clusters = std::min(x.items, std::max(1, choice.multiprocessors * C::kBlocks / split));
  launch("attention", attention_sm90_kernel<C>, x.clusters * split, C::kThreads,
         static_cast<std::size_t>(shared_bytes<C>(split > 1)), stream, x, split);
}

template <typename T, int kDim>
void choose_consumers(const AttentionLaunch& parameters, const Sm90Choice& choice, CudaStream stream) {
  if (choice.consumers == 1) return launch_kernel<Config<T, kDim, 1>>(parameters, choice, stream);
  if (choice.consumers == 2) return launch_kernel<Config<T, kDim, 2>>(parameters, choice, stream);
  launch_kernel<Config<T, kDim, 3>>(parameters, choice, stream);
}

template <typename T>
void choose_dim(const AttentionLaunch& parameters, const Sm90Choice& choice, CudaStream stream) {
  const int dim = std::max(parameters.args.head_dim, parameters.args.value_dim);
  if (dim <= 32) return choose_consumers<T, 32>(parameters, choice, stream);
  if (dim <= 64) return choose_consumers<T, 64>(parameters, choice, stream);
  launch_kernel<Config<T, 128, 2>>(parameters, {2, 1, choice.multiprocessors}, stream);
}

}  // namespace
}  // namespace hopper

void attention_sm90(const AttentionLaunch& parameters, const Sm90Choice& choice, CudaStream stream) {
  if (parameters.args.dtype == DType::f16) return hopper::choose_dim<__half>(parameters, choice, stream);
  hopper::choose_dim<__nv_bfloat16>(parameters, choice, stream);
}

}  // namespace vistazo::cuda
