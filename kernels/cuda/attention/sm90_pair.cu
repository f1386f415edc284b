// Attention of f16 and bf16 on Hopper for few items, where the time of one item is all of the time: two warpgroups
// share 64 queries, and each goes through half of the keys.
//
// A block is one item and has no warps but the two groups: 128 registers a thread and two blocks to a multiprocessor.
// The tiles of a warpgroup come through a ring of its own, and copies for all of it start before anything is computed;
// later ones are started by a thread of its first warp (K) and of its second (V) once all four have read the tile whose
// place they take. The warpgroups meet once: at the end each hands half the rows of its sums to the other through the
// shared memory that held its keys, adds what it gets to the other half and writes that.
//
// The first group has the first half of the tiles, rounded down, so that the end of the keys is with the group whose
// last tile is not full. Sums are added in a fixed order: bits depend on the number of keys alone.
//
// At dimension 64 a step of both groups, 2 x 64 keys, is 512 cycles of the tensor cores and as many of the
// exponentials.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/sm90_items.cuh"
#include "kernels/cuda/attention/sm90_output.cuh"
#include "kernels/cuda/attention/sm90_softmax.cuh"
#include "kernels/cuda/attention/sm90_tiles.cuh"
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/dynamic_shared.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/bar_sync.cuh"
#include "kernels/cuda/ptx/cp_async_bulk_tensor.cuh"
#include "kernels/cuda/ptx/ex2.cuh"
#include "kernels/cuda/ptx/mbarrier.cuh"

namespace vistazo::cuda {
namespace hopper {
namespace {

constexpr int kParts = 2;  // warpgroups of a block

// As many keys to a tile as 128 registers permit, as many stages as half the shared memory of a multiprocessor.
template <typename Element, int kPaddedDim>
struct PairConfig : Tiles<Element, kPaddedDim, 64> {
  using Base = Tiles<Element, kPaddedDim, 64>;
  static constexpr int kThreads = kParts * kGroup;
  static constexpr bool kOverlaps = true;
  static constexpr int kStages = kPaddedDim == 32 ? 6 : 3;
  static constexpr int kKeysBytes = kStages * Base::kTileBytes;
  static constexpr int kRingBytes = 2 * kKeysBytes;                              // K, then V
  static_assert((kPaddedDim / 16 + 1) * kGroup * sizeof(float4) <= kRingBytes);  // what it gives to the other
};

template <typename C>
struct RingBarriers {
  ptx::Barrier full_keys[C::kStages], empty_keys[C::kStages], full_values[C::kStages], empty_values[C::kStages];
};

// What a block shares beside queries and tiles. The item is kept here: its divisions are done once, and the threads
// have no registers left for it.
template <typename C>
struct PairShared {
  RingBarriers<C> rings[kParts];
  ptx::Barrier full_queries;
  Item item;
};

// The tiles of one warpgroup, which copies them itself.
template <typename C>
struct OwnRing {
  static constexpr int kKeysWarp = 0, kValuesWarp = 1;

  const Sm90Launch& x;
  const Item& item;
  RingBarriers<C>& barriers;
  unsigned char *queries, *keys;  // the values come behind the keys
  KeyRange range;
  int warp, lane;

  __device__ void copy(const CUtensorMap& map, unsigned char* stages, ptx::Barrier* full, int n) {
    const int stage = Place<C::kStages>(n).stage;
    ptx::mbarrier_arrive_expect_tx(full + stage, C::kTileBytes);
    copy_panels<C>(stages + stage * C::kTileBytes, map, C::kTileKeys, item.head, range.tile(n) * C::kTileKeys,
                   item.batch, full + stage);
  }
  __device__ void copy_keys(int n) { copy(x.maps.k, keys, barriers.full_keys, n); }
  __device__ void copy_values(int n) { copy(x.maps.v, keys + C::kKeysBytes, barriers.full_values, n); }

  // Starts copies of as much as the stages hold.
  __device__ void fill() {
    const int tiles = min(range.tiles, C::kStages);
    if (lane == 0 && warp == kKeysWarp) {
#pragma unroll 1
      for (int n = 0; n < tiles; ++n) copy_keys(n);
    }
    if (lane == 0 && warp == kValuesWarp) {
#pragma unroll 1
      for (int n = 0; n < tiles; ++n) copy_values(n);
    }
    __syncwarp();
  }

  __device__ const unsigned char* wait_keys(int n) {
    const Place<C::kStages> place(n);
    ptx::mbarrier_wait(&barriers.full_keys[place.stage], place.parity);
    return keys + place.stage * C::kTileBytes;
  }
  __device__ const unsigned char* wait_values(int n) {
    const Place<C::kStages> place(n);
    ptx::mbarrier_wait(&barriers.full_values[place.stage], place.parity);
    return keys + C::kKeysBytes + place.stage * C::kTileBytes;
  }

  // Once for every warp. Where another tile takes the place, the copying thread waits for all warps and starts it.
  template <typename Copy>
  __device__ void release(ptx::Barrier* empty, int copying_warp, int n, const Copy& copy_next) {
    if (n + C::kStages >= range.tiles) return;
    const Place<C::kStages> place(n);
    if (lane == 0) {
      ptx::mbarrier_arrive(empty + place.stage);
      if (warp == copying_warp) {
        ptx::mbarrier_wait(empty + place.stage, place.parity);
        copy_next(n + C::kStages);
      }
    }
    __syncwarp();
  }
  __device__ void release_keys(int n) {
    release(barriers.empty_keys, kKeysWarp, n, [this](int next) { copy_keys(next); });
  }
  __device__ void release_values(int n) {
    release(barriers.empty_values, kValuesWarp, n, [this](int next) { copy_values(next); });
  }
  __device__ void release_queries() {}
};

// Adds both warpgroups' sums of row kPart of every thread's two, and writes that. The same thread of both groups has
// the same rows and columns: to it goes the other row, through the shared memory that was the group's ring.
template <typename C, int kPart>
__device__ void join(const AttentionArgs& args, const Item& item, const float (&out)[C::kDim / 8][4], const Rows& rows,
                     unsigned char* rings, int thread) {
  constexpr int kOther = 1 - kPart, kPairs = C::kDim / 16;
  auto* const to = reinterpret_cast<float4*>(rings + kPart * C::kRingBytes) + thread;
  auto* const from = reinterpret_cast<const float4*>(rings + kOther * C::kRingBytes) + thread;
  ptx::named_barrier<kGroup>(1 + kPart);  // all warps of the group have read their tiles
#pragma unroll
  for (int d = 0; d < kPairs; ++d) {
    const float(&low)[4] = out[2 * d], (&high)[4] = out[2 * d + 1];
    to[d * kGroup] = float4{low[2 * kOther], low[2 * kOther + 1], high[2 * kOther], high[2 * kOther + 1]};
  }
  to[kPairs * kGroup] = float4{rows.sum[kOther], rows.shift[kOther], 0.0f, 0.0f};
  ptx::named_barrier<C::kThreads>(1 + kParts);

  const float4 other = from[kPairs * kGroup];
  const float shift = fmaxf(rows.shift[kPart], other.y);
  const float weight = ptx::ex2_approx_ftz(rows.shift[kPart] - shift),
              other_weight = ptx::ex2_approx_ftz(other.y - shift);
  const float sum = row_sum(weight * rows.sum[kPart] + other_weight * other.x);
  float x[C::kDim / 8][2];
#pragma unroll
  for (int d = 0; d < kPairs; ++d) {
    const float4 given = from[d * kGroup];
    const float(&low)[4] = out[2 * d], (&high)[4] = out[2 * d + 1];
    x[2 * d][0] = weight * low[2 * kPart] + other_weight * given.x;
    x[2 * d][1] = weight * low[2 * kPart + 1] + other_weight * given.y;
    x[2 * d + 1][0] = weight * high[2 * kPart] + other_weight * given.z;
    x[2 * d + 1][1] = weight * high[2 * kPart + 1] + other_weight * given.w;
  }
  store_row<C>(args, item, item.first_query + row_of(kPart, thread), x, 1.0f / sum, thread % 32);
}

template <typename C>
__device__ void initialize(PairShared<C>& shared) {
  for (RingBarriers<C>& ring : shared.rings) {
    for (int s = 0; s < C::kStages; ++s) {
      ptx::mbarrier_init(&ring.full_keys[s], 1);
      ptx::mbarrier_init(&ring.full_values[s], 1);
      ptx::mbarrier_init(&ring.empty_keys[s], kGroup / 32);
      ptx::mbarrier_init(&ring.empty_values[s], kGroup / 32);
    }
  }
  ptx::mbarrier_init(&shared.full_queries, 1);
  ptx::fence_mbarrier_init();
}

template <typename C>
__global__ void __launch_bounds__(C::kThreads, 2) attention_sm90_pair_kernel(const __grid_constant__ Sm90Launch x) {
  unsigned char* const all_shared = dynamic_shared();
  const std::uint32_t misaligned = ptx::shared_address(all_shared) & 1023;
  unsigned char* const queries = all_shared + (misaligned == 0 ? 0 : 1024 - misaligned);
  unsigned char* const rings = queries + C::kQueryBytes;
  auto& shared = *reinterpret_cast<PairShared<C>*>(rings + kParts * C::kRingBytes);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  // The same for all threads of a warp, and known to be.
  const int part = __shfl_sync(kWholeWarp, thread / kGroup, 0), warp = __shfl_sync(kWholeWarp, thread % kGroup / 32, 0);
  // All that need not wait for the kernel in front.
  if (thread == 0) initialize(shared);
  if (thread == 32) {
    ptx::prefetch_tensormap(&x.maps.q);
    ptx::prefetch_tensormap(&x.maps.k);
    ptx::prefetch_tensormap(&x.maps.v);
  }
  if (thread == 64) shared.item = Item(x, static_cast<int>(blockIdx.x), kRows);
  __syncthreads();
  dependent_launch();

  const Item& item = shared.item;
  const KeyRange range(x, part, kParts);
  OwnRing<C> ring{x, item, shared.rings[part], queries, rings + part * C::kRingBytes, range, warp, lane};
  if (part == 0 && warp == 2 && lane == 0) {
    ptx::mbarrier_arrive_expect_tx(&shared.full_queries, C::kQueryBytes);
    copy_panels<C>(queries, x.maps.q, kRows, item.head, item.first_query, item.batch, &shared.full_queries);
  }
  ring.fill();
  ptx::mbarrier_wait(&shared.full_queries, 0);

  float out[C::kDim / 8][4] = {};
  Rows rows{.scale = x.launch.scale_log2, .shift = {-INFINITY, -INFINITY}};
  TileSums<C, OwnRing<C>> sums{ring, lane};
  if (range.tiles > 0) sums.add(range.tiles, range.keys_of_first<C>(x), out, rows);
  if (part == 0) {
    join<C, 0>(x.launch.args, item, out, rows, rings, thread % kGroup);
  } else {
    join<C, 1>(x.launch.args, item, out, rows, rings, thread % kGroup);
  }
}

template <typename C>
void launch_pair(const AttentionLaunch& parameters, CudaStream stream) {
  constexpr int kAlignment = 1024;  // of swizzled rows; dynamic shared memory promises 16
  const Sm90Launch x = make_sm90_launch<C>(parameters, kRows);
  launch("attention", attention_sm90_pair_kernel<C>, x.items, C::kThreads,
         kAlignment + C::kQueryBytes + kParts * C::kRingBytes + sizeof(PairShared<C>), stream, x);
}

template <typename T>
void choose_dim(const AttentionLaunch& parameters, CudaStream stream) {
  if (std::max(parameters.args.head_dim, parameters.args.value_dim) <= 32) {
    return launch_pair<PairConfig<T, 32>>(parameters, stream);
  }
  launch_pair<PairConfig<T, 64>>(parameters, stream);
}

}  // namespace
}  // namespace hopper

void attention_sm90_pair(const AttentionLaunch& parameters, CudaStream stream) {
  if (parameters.args.dtype == DType::f16) return hopper::choose_dim<__half>(parameters, stream);
  hopper::choose_dim<__nv_bfloat16>(parameters, stream);
}

}  // namespace vistazo::cuda
