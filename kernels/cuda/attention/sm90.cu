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

#include "kernels/cuda/attention/sm90_items.cuh"
#include "kernels/cuda/attention/sm90_output.cuh"
#include "kernels/cuda/attention/sm90_softmax.cuh"
#include "kernels/cuda/attention/sm90_tiles.cuh"
#include "kernels/cuda/attention/tensor_maps.h"
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/dynamic_shared.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/cluster.cuh"
#include "kernels/cuda/ptx/cp_async_bulk_tensor.cuh"
#include "kernels/cuda/ptx/mbarrier.cuh"
#include "kernels/cuda/ptx/setmaxnreg.cuh"

namespace vistazo::cuda {
namespace hopper {
namespace {

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
      ptx::mbarrier_sleep(&barriers.empty_keys[s], place.parity ^ 1);
      ptx::mbarrier_arrive_expect_tx(&barriers.full_keys[s], C::kTileBytes);
      copy_panels<C>(shared_keys + s * C::kTileBytes, x.maps.k, C::kTileKeys, work.head, key, work.batch,
                     &barriers.full_keys[s]);
      ptx::mbarrier_sleep(&barriers.empty_values[s], place.parity ^ 1);
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
      ptx::mbarrier_sleep(&barriers.empty_queries[consumer], parity ^ 1);
      ptx::mbarrier_arrive_expect_tx(&barriers.full_queries[consumer], C::kQueryBytes);
      copy_panels<C>(shared + consumer * C::kQueryBytes, x.maps.q, kRows, work.head,
                     work.first_query + consumer * kRows, work.batch, &barriers.full_queries[consumer]);
    }
  }
}

// The tiles that pass through a block's ring, as one of its consumers sees them.
template <typename C>
struct Ring {
  Barriers<C>& barriers;
  unsigned char *queries, *keys;  // the values come behind the keys
  int consumer, lane;

  __device__ const unsigned char* wait_keys(int n) {
    const Place<C::kStages> place(n);
    ptx::mbarrier_wait(&barriers.full_keys[place.stage], place.parity);
    return keys + place.stage * C::kTileBytes;
  }
  __device__ const unsigned char* wait_values(int n) {
    const Place<C::kStages> place(n);
    ptx::mbarrier_wait(&barriers.full_values[place.stage], place.parity);
    return keys + (C::kStages + place.stage) * C::kTileBytes;
  }
  // Once for every warp: it has read what the barrier guards.
  __device__ void release(ptx::Barrier& barrier) {
    if (lane == 0) ptx::mbarrier_arrive(&barrier);
  }
  __device__ void release_keys(int n) { release(barriers.empty_keys[Place<C::kStages>(n).stage]); }
  __device__ void release_values(int n) { release(barriers.empty_values[Place<C::kStages>(n).stage]); }
  __device__ void release_queries() { release(barriers.empty_queries[consumer]); }
};

// One consumer: a warpgroup and the queries that it owns.
template <typename C>
struct Consumer {
  const Sm90Launch& x;
  Barriers<C>& barriers;
  TileSums<C, Ring<C>> sums;
  int index, warp, lane;

  // Goes through the tiles without reading.
  __device__ void skip(int tiles) {
#pragma unroll 1
    for (int i = 0; i < tiles; ++i, ++sums.n) {
      sums.ring.wait_keys(sums.n);
      sums.ring.release_keys(sums.n);
      sums.ring.wait_values(sums.n);
      sums.ring.release_values(sums.n);
    }
    sums.ring.release_queries();
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
      float out[C::kDim / 8][4] = {};
      Rows rows{.scale = x.launch.scale_log2};
      sums.add(work.tiles, work.keys_of_first<C>(x), out, rows);
      finish(item, out, rows, partials, phases);
    }
  }

  // Writes the item's output. All addresses are computed anew: kept, they would cost the loop over tiles registers.
  __device__ void finish(int item, const float (&out)[C::kDim / 8][4], const Rows& rows, float* partials, int& phases) {
    int own_index = index, own_thread = warp * 32 + lane;
    asm volatile("" : "+r"(item), "+r"(own_index), "+r"(own_thread));
    const Work work(x, item, C::kQueries);
    const int first_row = work.first_query + own_index * kRows;
    const float sum[2] = {row_sum(rows.sum[0]), row_sum(rows.sum[1])};
    const int ranks = C::kIsSplit ? ptx::cluster_blocks() : 1;
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
    const Ring<C> ring{barriers, shared + index * C::kQueryBytes, shared + C::kConsumers * C::kQueryBytes, index, lane};
    Consumer<C> consumer{x, barriers, {ring, lane}, index, __shfl_sync(kWholeWarp, thread / 32 % 4, 0), lane};
    consumer.run(partials);
    // Others may still read this block's sums.
    if (ranks > 1) ptx::cluster_barrier();
  }
}

template <typename C>
void launch_kernel(const AttentionLaunch& parameters, const Sm90Choice& choice, CudaStream stream) {
  Sm90Launch x = make_sm90_launch<C>(parameters, C::kQueries);
  const int split = std::min(choice.split, x.key_tiles);
  x.clusters = std::min(x.items, std::max(1, choice.multiprocessors * C::kBlocks / split));
  launch("attention", attention_sm90_kernel<C>, x.clusters * split, C::kThreads,
         static_cast<std::size_t>(shared_bytes<C>(split > 1)), stream, x, split);
}

template <typename T, int kDim>
void choose_consumers(const AttentionLaunch& parameters, const Sm90Choice& choice, CudaStream stream) {
  if (choice.consumers == 1) return launch_kernel<Config<T, kDim, 1>>(parameters, choice, stream);
  if (choice.consumers == 2) return launch_kernel<Config<T, kDim, 2>>(parameters, choice, stream);
  if (choice.consumers == 3) return launch_kernel<Config<T, kDim, 3>>(parameters, choice, stream);
  launch_kernel<Config<T, kDim, 4>>(parameters, {4, 1, choice.multiprocessors}, stream);
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
  if (choice.is_paired && std::max(parameters.args.head_dim, parameters.args.value_dim) <= 64) {
    return attention_sm90_pair(parameters, stream);
  }
  if (parameters.args.dtype == DType::f16) return hopper::choose_dim<__half>(parameters, choice, stream);
  hopper::choose_dim<__nv_bfloat16>(parameters, choice, stream);
}

}  // namespace vistazo::cuda
