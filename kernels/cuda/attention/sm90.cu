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
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention/tensor_maps.h"
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/cluster.cuh"
#include "kernels/cuda/ptx/cp_async_bulk_tensor.cuh"
#include "kernels/cuda/ptx/ex2.cuh"
#include "kernels/cuda/ptx/mbarrier.cuh"
#include "kernels/cuda/ptx/setmaxnreg.cuh"
#include "kernels/cuda/ptx/wgmma.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kGroup = 128;  // threads of a warpgroup
constexpr int kRows = 64;    // queries of a consumer: those of one wgmma

// What the compiler must know of a kernel.
template <typename Element, int kPaddedDim, int kRowGroupCount, int kKeyGroupCount>
struct Config {
  using T = Element;
  static constexpr int kDim = kPaddedDim;  // the larger of head_dim and value_dim, padded
  static constexpr int kRowGroups = kRowGroupCount;
  static constexpr int kKeyGroups = kKeyGroupCount;
  static constexpr int kConsumers = kRowGroups * kKeyGroups;
  static constexpr int kQueries = kRowGroups * kRows;  // of an item
  static constexpr int kThreads = (kConsumers + 1) * kGroup;
  static constexpr int kBlocks = kConsumers == 1 ? 2 : 1;  // on a multiprocessor
  // All registers but those of the copying warpgroup, and as many keys to a tile as they permit.
  static constexpr int kCopyRegisters = kConsumers >= 3 ? 32 : 40;
  static constexpr int kComputeRegisters = kConsumers == 4 ? 112 : kConsumers == 3 ? 160 : kConsumers == 2 ? 232 : 216;
  static constexpr int kTileKeys = kConsumers == 4 ? 64 : kConsumers == 3 ? 96 : 128;
  static constexpr bool kIsOverlapped = kConsumers != 4;  // needs registers for the weights of two tiles
  static constexpr int kStages = kDim == 128 || (kConsumers == 1 && kDim == 64) ? 2 : 4;

  // An operand is stored as panels of columns, a row of a panel at most the 128 bytes of the widest swizzle.
  static constexpr int kPanelBytes = kDim * 2 < 128 ? kDim * 2 : 128;
  static constexpr int kPanelColumns = kPanelBytes / 2;
  static constexpr int kPanels = kDim / kPanelColumns;
  static constexpr int kQueryBytes = kRows * kDim * 2;  // of one row group
  static constexpr int kTileBytes = kTileKeys * kDim * 2;
  // Sums that the blocks of a cluster exchange: a row of f32 with 8 more, so that storing meets no bank conflicts.
  static constexpr int kPartialStride = kDim + 8;
  static constexpr int kPartialBytes = kRows * (kPartialStride + 2) * 4;  // of one consumer
  static constexpr int kPartialAt = kRowGroups * kQueryBytes + 2 * kStages * kTileBytes;
};

struct Sm90Launch {
  AttentionLaunch launch;
  AttentionTensorMaps maps;
  int key_tiles;
  int items;     // query tiles of all (batch entry, head)
  int clusters;  // of the grid
};

template <typename C>
struct Barriers {
  ptx::Barrier full_keys[C::kStages], empty_keys[C::kStages], full_values[C::kStages], empty_values[C::kStages];
  ptx::Barrier full_queries[C::kRowGroups], empty_queries[C::kRowGroups];
  ptx::Barrier ready_partial[C::kRowGroups], free_partial[C::kRowGroups];  // by all that have a part of the keys
};

template <typename C>
constexpr int shared_bytes(bool is_split) {
  constexpr int kAlignment = 1024;  // of swizzled rows; dynamic shared memory promises 16
  return kAlignment + static_cast<int>(sizeof(Barriers<C>)) + C::kPartialAt +
         (is_split || C::kKeyGroups > 1 ? C::kConsumers * C::kPartialBytes : 0);
}

// Where the n-th tile of a block goes, and the parity of that stage's phase.
template <int kStages>
struct Place {
  int stage, parity;
  __device__ explicit Place(int n) : stage(n % kStages), parity(n / kStages & 1) {
    static_assert((kStages & (kStages - 1)) == 0);
  }
};

// The item of a block, and the tiles of keys that the block has of it.
struct Work {
  int batch, head, first_query, first_tile, tiles;

  __device__ Work(const Sm90Launch& x, int item, int queries) {
    const int rank = ptx::cluster_rank(), ranks = ptx::cluster_blocks(), pair = item / x.launch.query_tiles;
    batch = pair / x.launch.args.heads;
    head = pair % x.launch.args.heads;
    first_query = item % x.launch.query_tiles * queries;
    first_tile = rank * x.key_tiles / ranks;
    tiles = (rank + 1) * x.key_tiles / ranks - first_tile;
  }
  // The last one, which may hold the end of the keys, goes first.
  __device__ int tile(int i) const { return i == 0 ? first_tile + tiles - 1 : first_tile + i - 1; }
};

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
  unsigned char* const shared_keys = shared + C::kRowGroups * C::kQueryBytes;
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
    for (int row_group = 0; row_group < C::kRowGroups; ++row_group) {
      ptx::mbarrier_wait(&barriers.empty_queries[row_group], parity ^ 1);
      ptx::mbarrier_arrive_expect_tx(&barriers.full_queries[row_group], C::kQueryBytes);
      copy_panels<C>(shared + row_group * C::kQueryBytes, x.maps.q, kRows, work.head,
                     work.first_query + row_group * kRows, work.batch, &barriers.full_queries[row_group]);
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

// Starts out (64 x kDim) = P V, added to what is there if so wanted.
template <typename C, int kBlocks>
__device__ void multiply_values(float (&out)[C::kDim / 8][4], std::uint32_t (&p)[kBlocks][4],
                                const unsigned char* values, bool is_added) {
  ptx::hold(out);
  ptx::hold(p);
  ptx::wgmma_fence();
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    const std::uint64_t v = ptx::wgmma_descriptor<C::kPanelBytes>(values, C::kTileKeys * C::kPanelBytes);
    multiply<typename C::T>(out, p[n], ptx::advance(v, n * 16 * C::kPanelBytes), is_added || n > 0);
  }
  ptx::wgmma_commit();
}

constexpr unsigned kWholeWarp = 0xffffffffu;

// Over the four lanes that share a row.
__device__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kWholeWarp, x, 1));
  return fmaxf(x, __shfl_xor_sync(kWholeWarp, x, 2));
}
__device__ float row_sum(float x) {
  x += __shfl_xor_sync(kWholeWarp, x, 1);
  return x + __shfl_xor_sync(kWholeWarp, x, 2);
}

// The online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867) of the two rows of a thread: rows lane / 4 and
// lane / 4 + 8 of the warp's 16.
struct Rows {
  float scale;                  // log2(e) times that of the scores
  float shift[2];               // of scores times scale
  float sum[2] = {0.0f, 0.0f};  // of the thread's weights

  // Weights 2^(scores * scale - shift) of one row, as left operands and summed.
  template <typename T, int kTiles>
  __device__ void weigh(int r, const float (&scores)[kTiles][4], std::uint32_t (&p)[kTiles / 2][4], float& total) {
    float even = 0.0f, odd = 0.0f;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const float first = ptx::ex2_approx_ftz(scores[n][2 * r] * scale - shift[r]);
      const float second = ptx::ex2_approx_ftz(scores[n][2 * r + 1] * scale - shift[r]);
      even += first;
      odd += second;
      p[n / 2][n % 2 * 2 + r] = pack<T>(first, second);
    }
    total = even + odd;
  }

  template <int kTiles>
  __device__ float largest(int r, const float (&scores)[kTiles][4]) {
    float x = -INFINITY;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) x = fmaxf(x, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    return row_max(x);
  }

  template <typename T, int kTiles>
  __device__ void weigh_first(const float (&scores)[kTiles][4], std::uint32_t (&p)[kTiles / 2][4]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      shift[r] = largest(r, scores) * scale;
      weigh<T>(r, scores, p, sum[r]);
    }
  }

  // Of a further tile. True for the whole warp if a row's shift has risen and its sums must be multiplied by
  // `correction`. Weights may be up to kLimit, which costs neither f16 nor bf16 any precision. A row's decision depends
  // on that row alone.
  template <typename T, int kTiles>
  __device__ bool weigh_next(const float (&scores)[kTiles][4], std::uint32_t (&p)[kTiles / 2][4],
                             float (&correction)[2]) {
    constexpr float kLimit = 256.0f;
    float total[2];
    bool has_risen = false;
    // Twice at most, in a loop so that the weights and their registers are there once.
#pragma unroll 1
    while (true) {
      weigh<T>(0, scores, p, total[0]);
      weigh<T>(1, scores, p, total[1]);
      const bool is_large = total[0] > kLimit || total[1] > kLimit;
      if (__any_sync(kWholeWarp, is_large) == 0 || has_risen) break;
      has_risen = true;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const bool rises = row_max(total[r]) > kLimit;
        const float largest_score = largest(r, scores);  // all lanes take part
        const float risen = rises ? largest_score * scale : shift[r];
        correction[r] = rises ? ptx::ex2_approx_ftz(shift[r] - risen) : 1.0f;
        sum[r] *= correction[r];
        shift[r] = risen;
      }
    }
    sum[0] += total[0];
    sum[1] += total[1];
    return has_risen;
  }
};

// Of four 32-bit words that each of a row's lanes has, lane t of four gets the t-th of all.
__device__ uint4 transpose_words(const std::uint32_t (&w)[4], int t) {
  const bool is_odd = t & 1, is_high = t & 2;
  const std::uint32_t a = __shfl_xor_sync(kWholeWarp, is_odd ? w[0] : w[1], 1);
  const std::uint32_t b = __shfl_xor_sync(kWholeWarp, is_odd ? w[2] : w[3], 1);
  const uint2 low = is_odd ? uint2{a, w[1]} : uint2{w[0], a};   // words 0 and 1 of lanes t & 2 and above
  const uint2 high = is_odd ? uint2{b, w[3]} : uint2{w[2], b};  // words 2 and 3
  const std::uint32_t c = __shfl_xor_sync(kWholeWarp, is_high ? low.x : high.x, 2);
  const std::uint32_t d = __shfl_xor_sync(kWholeWarp, is_high ? low.y : high.y, 2);
  return is_high ? uint4{c, d, high.x, high.y} : uint4{low.x, low.y, c, d};
}

template <typename T>
__device__ T* out_row(const AttentionArgs& args, const Work& work, int row) {
  return static_cast<T*>(args.out) + work.batch * args.out_batch_stride + row * args.out_row_stride +
         std::int64_t{work.head} * args.value_dim;
}

template <typename C>
__device__ void store_rows(const AttentionArgs& args, const Work& work, int first_row,
                           const float (&out)[C::kDim / 8][4], const float (&sum)[2], int thread) {
  using T = typename C::T;
  const int lane = thread % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + thread / 32 * 16 + lane / 4 + 8 * r;
    const float inverse = 1.0f / sum[r];
    T* const to = out_row<T>(args, work, row);
#pragma unroll
    for (int d = 0; d < C::kDim / 8; d += 4) {
      std::uint32_t words[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) words[j] = pack<T>(out[d + j][2 * r] * inverse, out[d + j][2 * r + 1] * inverse);
      const uint4 columns = transpose_words(words, lane & 3);
      const int column = (d + (lane & 3)) * 8;
      if (row < args.queries && column < args.value_dim) *reinterpret_cast<uint4*>(to + column) = columns;
    }
  }
}

// The sums of a consumer, for the others to read that have other keys of the same queries: rows of kPartialStride, then
// for each row the sum of weights and the shift.
template <typename C>
__device__ void store_partial(float* partial, const float (&out)[C::kDim / 8][4], const Rows& rows,
                              const float (&sum)[2], int thread) {
  const int lane = thread % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = thread / 32 * 16 + lane / 4 + 8 * r;
#pragma unroll
    for (int d = 0; d < C::kDim / 8; ++d) {
      *reinterpret_cast<float2*>(partial + row * C::kPartialStride + d * 8 + (lane & 3) * 2) =
          float2{out[d][2 * r], out[d][2 * r + 1]};
    }
    if ((lane & 3) == 0) {
      *reinterpret_cast<float2*>(partial + kRows * C::kPartialStride + row * 2) = float2{sum[r], rows.shift[r]};
    }
  }
}

// Adds the sums of all that share the row group's queries: the key groups of all blocks of the cluster, in this order.
// Each writes its share of the output, 8 columns a thread. `partials` are those of the row group.
template <typename C>
__device__ void combine(const AttentionArgs& args, const Work& work, int first_row, const float* partials, int part,
                        int parts, int thread) {
  using T = typename C::T;
  constexpr int kPieces = C::kDim / 8;
#pragma unroll 1
  for (int piece = part * kGroup + thread; piece < kRows * kPieces; piece += parts * kGroup) {
    const int row = piece / kPieces, column = piece % kPieces * 8;
    const auto partial = [&](int other) { return partials + other % C::kKeyGroups * (C::kPartialBytes / 4); };
    float shift = -INFINITY;
#pragma unroll 1
    for (int other = 0; other < parts; ++other) {
      const float* const sums = partial(other) + kRows * C::kPartialStride + row * 2;
      shift = fmaxf(shift, ptx::load_cluster_v2(sums, other / C::kKeyGroups).y);
    }
    float total = 0.0f, x[8] = {};
#pragma unroll 1
    for (int other = 0; other < parts; ++other) {
      const float* const from = partial(other);
      const int rank = other / C::kKeyGroups;
      const float2 sum = ptx::load_cluster_v2(from + kRows * C::kPartialStride + row * 2, rank);
      const float4 low = ptx::load_cluster_v4(from + row * C::kPartialStride + column, rank);
      const float4 high = ptx::load_cluster_v4(from + row * C::kPartialStride + column + 4, rank);
      const float weight = ptx::ex2_approx_ftz(sum.y - shift);
      total += weight * sum.x;
      x[0] += weight * low.x;
      x[1] += weight * low.y;
      x[2] += weight * low.z;
      x[3] += weight * low.w;
      x[4] += weight * high.x;
      x[5] += weight * high.y;
      x[6] += weight * high.z;
      x[7] += weight * high.w;
    }
    if (first_row + row >= args.queries || column >= args.value_dim) continue;
    const float inverse = 1.0f / total;
    *reinterpret_cast<uint4*>(out_row<T>(args, work, first_row + row) + column) =
        uint4{pack<T>(x[0] * inverse, x[1] * inverse), pack<T>(x[2] * inverse, x[3] * inverse),
              pack<T>(x[4] * inverse, x[5] * inverse), pack<T>(x[6] * inverse, x[7] * inverse)};
  }
}

// One consumer: a warpgroup, its row group and its key group.
template <typename C>
struct Consumer {
  using T = typename C::T;
  using Scores = float[C::kTileKeys / 8][4];
  using Weights = std::uint32_t[C::kTileKeys / 16][4];
  using Out = float[C::kDim / 8][4];

  const Sm90Launch& x;
  Barriers<C>& barriers;
  unsigned char *queries, *keys;  // the values come behind the keys
  int row_group, key_group, warp, lane;
  int n = 0;  // the tile of this key group whose keys come next

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
  template <int kBlocks>
  __device__ void start_values(Out& out, std::uint32_t (&weights)[kBlocks][4], int tile, bool is_added) {
    const Place<C::kStages> place(tile);
    ptx::mbarrier_wait(&barriers.full_values[place.stage], place.parity);
    multiply_values<C>(out, weights, keys + (C::kStages + place.stage) * C::kTileBytes, is_added);
  }
  // Waits for the scores, and for the products started before them.
  template <int kTiles>
  __device__ void finish_scores(float (&scores)[kTiles][4], bool is_last) {
    ptx::wgmma_wait<0>();
    ptx::hold(scores);
    release_keys(n);
    if (is_last) release(barriers.empty_queries[row_group]);
  }
  template <int kBlocks>
  __device__ void finish_values(Out& out, std::uint32_t (&weights)[kBlocks][4], int tile) {
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
    for (int i = 0; i < tiles; ++i, n += C::kKeyGroups) {
      const Place<C::kStages> place(n);
      ptx::mbarrier_wait(&barriers.full_keys[place.stage], place.parity);
      release_keys(n);
      ptx::mbarrier_wait(&barriers.full_values[place.stage], place.parity);
      release_values(n);
    }
    release(barriers.empty_queries[row_group]);
  }

  // The first tile, which may hold the end of the keys: of its columns the first 8 kTiles are computed.
  template <int kTiles>
  __device__ void first_tile(int keys_left, bool is_last, Out& out, Rows& rows) {
    float scores[kTiles][4];
    std::uint32_t weights[kTiles / 2][4];
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
    start_values(out, weights, n, false);
    finish_values(out, weights, n);
    n += C::kKeyGroups;
  }

  // The product of the last tile's weights with V runs beside that of Q with the next tile's K and while its weights
  // are computed.
  __device__ void next_tile(bool is_last, Scores& scores, Weights& last, Weights& next, Out& out, Rows& rows) {
    float correction[2];
    const int behind = n - C::kKeyGroups;
    start_scores(scores);
    start_values(out, last, behind, true);
    ptx::wgmma_wait<1>();
    ptx::hold(scores);
    release_keys(n);
    if (is_last) release(barriers.empty_queries[row_group]);
    const bool has_risen = rows.weigh_next<T>(scores, next, correction);
    finish_values(out, last, behind);
    if (has_risen) rescale(out, correction);
    n += C::kKeyGroups;
  }

  __device__ void full_tiles_overlapped(int tiles, Out& out, Rows& rows) {
    Scores scores;
    Weights even, odd;
    float correction[2];
    start_scores(scores);
    finish_scores(scores, tiles == 1);
    if (rows.weigh_next<T>(scores, even, correction)) rescale(out, correction);
    n += C::kKeyGroups;
#pragma unroll 1
    for (int i = 1; i < tiles; i += 2) {
      next_tile(i + 1 == tiles, scores, even, odd, out, rows);
      if (i + 1 == tiles) {
        start_values(out, odd, n - C::kKeyGroups, true);
        finish_values(out, odd, n - C::kKeyGroups);
        return;
      }
      next_tile(i + 2 == tiles, scores, odd, even, out, rows);
    }
    start_values(out, even, n - C::kKeyGroups, true);
    finish_values(out, even, n - C::kKeyGroups);
  }

  __device__ void full_tiles(int tiles, Out& out, Rows& rows) {
    Scores scores;
    Weights weights;
    float correction[2];
#pragma unroll 1
    for (int i = 1; i <= tiles; ++i, n += C::kKeyGroups) {
      start_scores(scores);
      finish_scores(scores, i == tiles);
      if (i > 1) finish_values(out, weights, n - C::kKeyGroups);
      if (rows.weigh_next<T>(scores, weights, correction)) rescale(out, correction);
      start_values(out, weights, n, true);
    }
    finish_values(out, weights, n - C::kKeyGroups);
  }

  // The output of an item, not yet divided by the sum of the weights.
  __device__ void sum_values(int tiles, int keys_left, Out& out, Rows& rows) {
    const bool is_last = tiles == 1;
    if (keys_left <= 32) {
      first_tile<4>(keys_left, is_last, out, rows);
    } else if (C::kTileKeys == 64 || keys_left <= 64) {
      first_tile<8>(keys_left, is_last, out, rows);
    } else if constexpr (C::kTileKeys > 64) {
      if (C::kTileKeys == 96 || keys_left <= 96) {
        first_tile<12>(keys_left, is_last, out, rows);
      } else if constexpr (C::kTileKeys > 96) {
        first_tile<16>(keys_left, is_last, out, rows);
      }
    }
    if (is_last) return;
    if constexpr (C::kIsOverlapped) {
      full_tiles_overlapped(tiles - 1, out, rows);
    } else {
      full_tiles(tiles - 1, out, rows);
    }
  }

  __device__ void run(float* partials) {
    int first = 0;   // tile of the item
    int phases = 0;  // bit 0: parity of the queries' barrier; bit 1: of those of the partial sums
#pragma unroll 1
    for (int item = ptx::cluster_index(); item < x.items; item += x.clusters, phases ^= 1) {
      const Work work(x, item, C::kQueries);
      const int tiles = (work.tiles - key_group + C::kKeyGroups - 1) / C::kKeyGroups;
      if constexpr (C::kKeyGroups > 1) {
        n = first + key_group;
        first += work.tiles;
      }
      ptx::mbarrier_wait(&barriers.full_queries[row_group], phases & 1);
      if (work.first_query + row_group * kRows >= x.launch.args.queries) {
        skip(tiles);
        continue;
      }
      Out out;
      Rows rows{.scale = x.launch.scale_log2};
      if (C::kKeyGroups > 1 && tiles == 0) {
        rows.shift[0] = rows.shift[1] = -INFINITY;
#pragma unroll
        for (float(&columns)[4] : out) {
#pragma unroll
          for (float& column : columns) column = 0.0f;
        }
        release(barriers.empty_queries[row_group]);
      } else {
        sum_values(tiles, min(x.launch.args.keys - work.tile(key_group) * C::kTileKeys, C::kTileKeys), out, rows);
      }
      finish(item, out, rows, partials, phases);
    }
  }

  // Writes the item's output. All addresses are computed anew: kept, they would cost the loop over tiles registers.
  __device__ void finish(int item, const Out& out, const Rows& rows, float* partials, int& phases) {
    int own_row_group = row_group, own_thread = warp * 32 + lane;
    asm volatile("" : "+r"(item), "+r"(own_row_group), "+r"(own_thread));
    const Work work(x, item, C::kQueries);
    const int first_row = work.first_query + own_row_group * kRows;
    const float sum[2] = {row_sum(rows.sum[0]), row_sum(rows.sum[1])};
    const int ranks = ptx::cluster_blocks();
    if (C::kKeyGroups == 1 && ranks == 1) {
      store_rows<C>(x.launch.args, work, first_row, out, sum, own_thread);
      return;
    }
    partials += own_row_group * C::kKeyGroups * (C::kPartialBytes / 4);
    ptx::Barrier &ready = barriers.ready_partial[own_row_group], &free = barriers.free_partial[own_row_group];
    ptx::mbarrier_wait_cluster(&free, phases >> 1 ^ 1);
    store_partial<C>(partials + key_group * (C::kPartialBytes / 4), out, rows, sum, own_thread);
    __syncwarp();
    if (own_thread % 32 < ranks) ptx::mbarrier_arrive_cluster(&ready, own_thread % 32);
    ptx::mbarrier_wait_cluster(&ready, phases >> 1);
    combine<C>(x.launch.args, work, first_row, partials, ptx::cluster_rank() * C::kKeyGroups + key_group,
               ranks * C::kKeyGroups, own_thread);
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
    ptx::mbarrier_init(&barriers.empty_keys[s], C::kRowGroups * kWarps);
    ptx::mbarrier_init(&barriers.empty_values[s], C::kRowGroups * kWarps);
  }
  for (int i = 0; i < C::kRowGroups; ++i) {
    ptx::mbarrier_init(&barriers.full_queries[i], 1);
    ptx::mbarrier_init(&barriers.empty_queries[i], C::kKeyGroups * kWarps);
    ptx::mbarrier_init(&barriers.ready_partial[i], ranks * C::kKeyGroups * kWarps);
    ptx::mbarrier_init(&barriers.free_partial[i], ranks * C::kKeyGroups * kWarps);
  }
  ptx::fence_mbarrier_init();
}

template <typename C>
__global__ void __launch_bounds__(C::kThreads, C::kBlocks) attention_sm90_kernel(const __grid_constant__ Sm90Launch x) {
  extern __shared__ unsigned char shared_memory[];
  const std::uint32_t misaligned = ptx::shared_address(shared_memory) & 1023;
  unsigned char* const shared = shared_memory + (misaligned == 0 ? 0 : 1024 - misaligned);
  float* const partials = reinterpret_cast<float*>(shared + C::kPartialAt);
  const int ranks = ptx::cluster_blocks();
  auto& barriers = *reinterpret_cast<Barriers<C>*>(
      shared + C::kPartialAt + (ranks > 1 || C::kKeyGroups > 1 ? C::kConsumers * C::kPartialBytes : 0));
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
    const int row_group = (group - 1) % C::kRowGroups;
    Consumer<C> consumer{x,
                         barriers,
                         shared + row_group * C::kQueryBytes,
                         shared + C::kRowGroups * C::kQueryBytes,
                         row_group,
                         (group - 1) / C::kRowGroups,
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
void choose_groups(const AttentionLaunch& parameters, const Sm90Choice& choice, CudaStream stream) {
  switch (choice.row_groups * 10 + choice.key_groups) {
    case 11:
      return launch_kernel<Config<T, kDim, 1, 1>>(parameters, choice, stream);
    case 14:
      return launch_kernel<Config<T, kDim, 1, 4>>(parameters, choice, stream);
    case 21:
      return launch_kernel<Config<T, kDim, 2, 1>>(parameters, choice, stream);
    case 22:
      return launch_kernel<Config<T, kDim, 2, 2>>(parameters, choice, stream);
    default:
      return launch_kernel<Config<T, kDim, 3, 1>>(parameters, choice, stream);
  }
}

template <typename T>
void choose_dim(const AttentionLaunch& parameters, const Sm90Choice& choice, CudaStream stream) {
  const int dim = std::max(parameters.args.head_dim, parameters.args.value_dim);
  if (dim <= 32) return choose_groups<T, 32>(parameters, choice, stream);
  if (dim <= 64) return choose_groups<T, 64>(parameters, choice, stream);
  launch_kernel<Config<T, 128, 2, 1>>(parameters, {2, 1, 1, choice.multiprocessors}, stream);
}

}  // namespace

void attention_sm90(const AttentionLaunch& parameters, const Sm90Choice& choice, CudaStream stream) {
  if (parameters.args.dtype == DType::f16) return choose_dim<__half>(parameters, choice, stream);
  choose_dim<__nv_bfloat16>(parameters, choice, stream);
}

}  // namespace vistazo::cuda
