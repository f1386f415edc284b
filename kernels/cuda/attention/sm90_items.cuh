#pragma once

#include <cstdint>
#include <limits>

#include "kernels/base/error.h"
#include "kernels/cuda/attention/tensor_maps.h"
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/divisor.cuh"
#include "kernels/cuda/ptx/cluster.cuh"
#include "kernels/cuda/ptx/mbarrier.cuh"

// What the kernels for sm_90 and the roles in their blocks share: sizes, shared memory, the items of the work and the
// places of tiles in the rings.
namespace vistazo::cuda::hopper {

constexpr int kGroup = 128;  // threads of a warpgroup
constexpr int kRows = 64;    // queries of a consumer: those of one wgmma

// How queries and tiles of keys lie in shared memory. An operand is stored as panels of columns, a row of a panel at
// most the 128 bytes of the widest swizzle.
template <typename Element, int kPaddedDim, int kKeys>
struct Tiles {
  using T = Element;
  static constexpr int kDim = kPaddedDim;  // the larger of head_dim and value_dim, padded
  static constexpr int kTileKeys = kKeys;
  static constexpr int kPanelBytes = kDim * 2 < 128 ? kDim * 2 : 128;
  static constexpr int kPanelColumns = kPanelBytes / 2;
  static constexpr int kPanels = kDim / kPanelColumns;
  static constexpr int kQueryBytes = kRows * kDim * 2;
  static constexpr int kTileBytes = kTileKeys * kDim * 2;
};

// Keys of a tile: as many as the registers permit.
constexpr int tile_keys(int consumers) {
  return consumers == 4 ? 64 : consumers == 3 ? 96 : 128;
}

// What the compiler must know of sm90.cu's kernel.
template <typename Element, int kPaddedDim, int kConsumerCount>
struct Config : Tiles<Element, kPaddedDim, tile_keys(kConsumerCount)> {
  using Base = Tiles<Element, kPaddedDim, tile_keys(kConsumerCount)>;
  using Base::kDim, Base::kQueryBytes, Base::kTileBytes;
  static constexpr int kConsumers = kConsumerCount;
  static constexpr int kQueries = kConsumers * kRows;  // of an item
  static constexpr int kThreads = (kConsumers + 1) * kGroup;
  static constexpr int kBlocks = kConsumers == 1 ? 2 : 1;  // on a multiprocessor
  // All registers but those of the copying warpgroup.
  static constexpr int kCopyRegisters = kConsumers == 4 ? 24 : kConsumers == 3 ? 32 : 40;
  static constexpr int kComputeRegisters = kConsumers == 4 ? 112 : kConsumers == 3 ? 160 : kConsumers == 2 ? 232 : 216;
  static constexpr bool kHasFewStages = kDim == 128 || (kConsumers == 1 && kDim == 64);
  static constexpr int kStages = kConsumers == 4 ? 8 : kHasFewStages ? 2 : 4;
  // Four consumers have no registers for the weights of two tiles, nor for the sums of other blocks. They overlap each
  // other's products instead of their own.
  static constexpr bool kOverlaps = kConsumers < 4, kIsSplit = kOverlaps;
  // Sums that the blocks of a cluster exchange: a row of f32 with 8 more, so that storing meets no bank conflicts.
  static constexpr int kPartialStride = kDim + 8;
  static constexpr int kPartialBytes = kRows * (kPartialStride + 2) * 4;  // of one consumer
  static constexpr int kPartialAt = kConsumers * kQueryBytes + 2 * kStages * kTileBytes;
};

struct Sm90Launch {
  AttentionLaunch launch;
  AttentionTensorMaps maps;
  int key_tiles;
  int items;     // query tiles of all (batch entry, head)
  int clusters;  // of the grid; for the launcher to fill in
  Divisor by_query_tiles, by_heads;
};

// For items of so many queries.
template <typename C>
Sm90Launch make_sm90_launch(const AttentionLaunch& parameters, int queries) {
  const AttentionArgs& args = parameters.args;
  Sm90Launch x{};
  x.launch = parameters;
  x.launch.query_tiles = (args.queries + queries - 1) / queries;
  x.maps = make_tensor_maps(args, C::kPanelColumns, kRows, C::kTileKeys);
  x.key_tiles = (args.keys + C::kTileKeys - 1) / C::kTileKeys;
  const std::int64_t items = std::int64_t{args.batch} * args.heads * x.launch.query_tiles;
  if (items > std::numeric_limits<int>::max()) {
    fail(Error::Code::unsupported, "attention: {} blocks are more than a grid holds; split the batch", items);
  }
  x.items = static_cast<int>(items);
  x.by_query_tiles = Divisor(x.launch.query_tiles);
  x.by_heads = Divisor(args.heads);
  return x;
}

template <typename C>
struct Barriers {
  ptx::Barrier full_keys[C::kStages], empty_keys[C::kStages], full_values[C::kStages], empty_values[C::kStages];
  ptx::Barrier full_queries[C::kConsumers], empty_queries[C::kConsumers];
  ptx::Barrier ready_partial[C::kConsumers], free_partial[C::kConsumers];  // counted in every block of the cluster
};

template <typename C>
constexpr int shared_bytes(bool is_split) {
  constexpr int kAlignment = 1024;  // of swizzled rows; dynamic shared memory promises 16
  return kAlignment + static_cast<int>(sizeof(Barriers<C>)) + C::kPartialAt +
         (is_split ? C::kConsumers * C::kPartialBytes : 0);
}

// Where the n-th tile of a block goes, and the parity of that stage's phase.
template <int kStages>
struct Place {
  int stage, parity;
  __device__ explicit Place(int n) : stage(n % kStages), parity(n / kStages & 1) {}
};

struct Item {
  int batch, head, first_query;

  __device__ Item(const Sm90Launch& x, int item, int queries) {
    const auto pair = x.by_query_tiles.divide(item), place = x.by_heads.divide(pair.quotient);
    batch = place.quotient;
    head = place.rest;
    first_query = pair.rest * queries;
  }
};

// The tiles of keys that one of several parts has of an item.
struct KeyRange {
  int first_tile, tiles;

  __device__ KeyRange(const Sm90Launch& x, int part, int parts) {
    first_tile = parts == 1 ? 0 : part * x.key_tiles / parts;
    tiles = parts == 1 ? x.key_tiles : (part + 1) * x.key_tiles / parts - first_tile;
  }
  // The last one, which may hold the end of the keys, goes first.
  __device__ int tile(int i) const { return i == 0 ? first_tile + tiles - 1 : first_tile + i - 1; }
  // The keys in that first one.
  template <typename C>
  __device__ int keys_of_first(const Sm90Launch& x) const {
    return min(x.launch.args.keys - tile(0) * C::kTileKeys, C::kTileKeys);
  }
};

// An item, and the tiles of keys that the block has of it.
struct Work : Item, KeyRange {
  __device__ Work(const Sm90Launch& x, int item, int queries)
      : Item(x, item, queries), KeyRange(x, ptx::cluster_rank(), ptx::cluster_blocks()) {}
};

}  // namespace vistazo::cuda::hopper
