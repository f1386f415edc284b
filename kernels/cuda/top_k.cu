// The k largest of each row, in one of two ways, with the same result.
//
// By rank, where rows * cols^2 is small: a score's place is the count of better ones, which needs no word from any
// other thread. A block owns 32 columns of a row and reads the whole row; each of its warps compares those 32, one a
// lane, with an eighth of the row. No step waits for another, so that the time for a few hundred columns is that of a
// launch.
//
// By selection otherwise: a block takes a slice of a row into registers, finds a bound that about k of its words reach,
// and leaves those to the next stage, which ranks them. Limited by the block's barriers, one a bit of the bound.
#include <climits>

#include "kernels/base/error.h"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/select.cuh"
#include "kernels/top_k.h"

namespace vistazo::cuda {
namespace {

// Comparisons for which ranking takes as long as selection does, some 6 us: 2 instructions each, 17 thousand a clock.
constexpr std::int64_t kMostComparisons = std::int64_t{1} << 26;

constexpr int kTile = 32;  // columns: what a block ranks, a lane each, and what it is compared with at a time
constexpr int kRankWarps = 8, kRankThreads = 32 * kRankWarps;
constexpr int kChunk = 2048;  // columns in shared memory at a time

struct RankLaunch {
  TopKArgs args;
  int row_tiles;
};

// Signed, so that a compare is one instruction. NaN is the second smallest: one below is still a number.
__device__ int signed_key(float score) {
  const int bits = __float_as_int(score + 0.0f);
  return score != score ? INT_MIN + 1 : bits ^ ((bits >> 31) & INT_MAX);
}

__global__ void __launch_bounds__(kRankThreads) rank_kernel(const __grid_constant__ RankLaunch launch) {
  dependent_launch();
  __shared__ int4 keys[kChunk / 4];
  __shared__ int ranks[kTile];
  const TopKArgs& args = launch.args;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const auto [row, own_tile] = divide(blockIdx.x, launch.row_tiles);
  const float* scores = args.scores + row * args.cols;
  const int column = own_tile * kTile + lane;
  const float own_score = column < args.cols ? scores[column] : 0.0f;
  const int own = signed_key(own_score);
  if (thread < kTile) ranks[thread] = 0;

  int rank = 0;
  for (int begin = 0; begin < args.cols; begin += kChunk) {
    const int end = min(args.cols - begin, kChunk), tiles = (end + kTile - 1) / kTile;
    __syncthreads();
    for (int i = thread; i < tiles * kTile; i += kRankThreads) {
      reinterpret_cast<int*>(keys)[i] = i < end ? signed_key(scores[begin + i]) : INT_MIN;  // better than nothing
    }
    __syncthreads();
    for (int tile = warp; tile < tiles; tile += kRankWarps) {
      const int tile_column = begin + tile * kTile;
      const auto count_better = [&](auto&& bound_of) {
#pragma unroll
        for (int i = 0; i < kTile; i += 4) {
          const int4 four = keys[(tile * kTile + i) / 4];
          rank += four.x > bound_of(i) ? 1 : 0;
          rank += four.y > bound_of(i + 1) ? 1 : 0;
          rank += four.z > bound_of(i + 2) ? 1 : 0;
          rank += four.w > bound_of(i + 3) ? 1 : 0;
        }
      };
      // An equal score in front wins: as if those behind had to be better by one.
      if (tile_column == own_tile * kTile) {
        count_better([&](int place) { return place < lane ? own - 1 : own; });
      } else {
        const int bound = tile_column < own_tile * kTile ? own - 1 : own;
        count_better([&](int) { return bound; });
      }
    }
  }
  atomicAdd(&ranks[lane], rank);
  __syncthreads();
  if (warp != 0 || column >= args.cols || ranks[lane] >= args.k) return;
  const std::int64_t place = row * args.k + ranks[lane];
  args.index[place] = column;
  if (args.values != nullptr) args.values[place] = own_score;
}

struct SelectLaunch {
  TopKArgs args;
  SelectStage stage;
};

// One stage: a block owns a slice of a row, or the whole row in the last.
template <int kPerThread>
__global__ void __launch_bounds__(kSelectThreads) select_kernel(const __grid_constant__ SelectLaunch launch) {
  dependent_launch();
  __shared__ SelectStorage storage;
  const TopKArgs& args = launch.args;
  const SelectStage& stage = launch.stage;
  const auto [row, slice] = divide(blockIdx.x, stage.slices);
  std::uint64_t words[kPerThread];
  load_words(words, stage, row, slice, [&](std::int64_t column) {
    return candidate_word(args.scores[row * args.cols + column], static_cast<std::int32_t>(column));
  });
  const int found = select_largest(words, stage.wanted, storage);
  if (stage.out != nullptr) return store_list(stage, found, storage);
  rank_list(storage, found, stage.wanted, [&](int rank, std::uint64_t word) {
    const std::int32_t column = index_of_candidate(word);
    args.index[row * args.k + rank] = column;
    if (args.values != nullptr) args.values[row * args.k + rank] = args.scores[row * args.cols + column];
  });
}

bool is_ranked(const TopKArgs& args) {
  return args.k > kMostWanted || args.rows * args.cols <= kMostComparisons / args.cols;
}

void check(const TopKArgs& args) {
  if (args.rows < 0 || args.cols < 1 || args.k < 1 || args.k > args.cols) {
    fail(Error::Code::argument, "top_k: k {} of {} columns, {} rows", args.k, args.cols, args.rows);
  }
}

}  // namespace

std::size_t top_k_scratch_bytes(const TopKArgs& args) {
  check(args);
  return is_ranked(args) ? 0 : select_scratch_bytes(args.cols, args.rows, args.k);
}

void top_k(const TopKArgs& args, CudaStream stream) {
  check(args);
  if (args.rows == 0) return;
  if (is_ranked(args)) {
    const RankLaunch parameters{args, (args.cols + kTile - 1) / kTile};
    return launch("top_k", rank_kernel, args.rows * parameters.row_tiles, kRankThreads, 0, stream, parameters);
  }
  const auto run = [&](const SelectStage& stage) {
    const bool is_short = stage.count <= kFewPerThread * kSelectThreads;
    launch("top_k", is_short ? select_kernel<kFewPerThread> : select_kernel<kMostPerThread>, args.rows * stage.slices,
           kSelectThreads, 0, stream, SelectLaunch{args, stage});
  };
  run_select_stages(args.cols, args.rows, args.k, args.scratch, run, run);
}

}  // namespace vistazo::cuda
