#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cuda/index.cuh"
#include "kernels/cuda/warp.cuh"

// The best few of very many scores, in a block. A candidate is one 64-bit word, (score key, inverted index): larger is
// better, a lower index wins among equal scores, and no two are equal, so that every result is deterministic. 0 is no
// candidate.
namespace vistazo::cuda {

constexpr int kSelectThreads = 1024;
constexpr int kFewPerThread = 4;    // for short rows and last stages
constexpr int kMostPerThread = 12;  // words in registers: 24 of the 64 that a block of 1024 threads leaves each
constexpr int kSlice = kMostPerThread * kSelectThreads;  // of a row: what a block selects from
constexpr int kMostWanted = 1024;
constexpr int kSlack = 32;  // more than wanted may be kept, which saves some steps of the search for the bound

// In the order of the scores: -0 equals 0, NaN is the smallest, 0.
__device__ inline std::uint32_t score_key(float score) {
  const std::uint32_t bits = __float_as_uint(score + 0.0f);  // -0 + 0 is 0
  if (score != score) return 0;
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ inline std::uint64_t candidate_word(float score, std::int32_t index) {
  return std::uint64_t{score_key(score)} << 32 | ~static_cast<std::uint32_t>(index);
}

__device__ inline std::int32_t index_of_candidate(std::uint64_t word) {
  return static_cast<std::int32_t>(~static_cast<std::uint32_t>(word));
}

struct SelectStorage {
  int counts[65];  // of words at or above each trial bound; the last is that of the list
  alignas(16) std::uint64_t list[kMostWanted + kSlack];
};

// Gathers, in no order, the `wanted` largest of the block's words, and perhaps up to kSlack more of the next ones, or
// all where there are fewer. Returns how many. All threads of the block call it; `storage` is the block's.
template <int kPerThread>
__device__ int select_largest(const std::uint64_t (&words)[kPerThread], int wanted, SelectStorage& storage) {
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < 65) storage.counts[thread] = 0;
  __syncthreads();
  // Words that pass, over the block. Every call has a counter of its own, and so needs one barrier.
  const auto count = [&](int counter, auto&& passes) {
    int own = 0;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) own += passes(words[i]) ? 1 : 0;
    own = __reduce_add_sync(kAllLanes, own);
    if (thread % 32 == 0 && own > 0) atomicAdd(&storage.counts[counter], own);
    __syncthreads();
    return storage.counts[counter];
  };
  // The bound, bit by bit from the top: the largest that enough words reach. Upper halves differ as a rule, so that
  // comparing those alone ends the search.
  const int most = wanted + kSlack;
  std::uint64_t bound = 1;
  if (count(64, [](std::uint64_t word) { return word != 0; }) > most) {
    bound = 0;
    for (int bit = 63; bit >= 0; --bit) {
      const std::uint64_t trial = bound | std::uint64_t{1} << bit;
      const auto high = static_cast<std::uint32_t>(trial >> 32);
      const int reach =
          bit >= 32 ? count(bit, [high](std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32) >= high; })
                    : count(bit, [trial](std::uint64_t word) { return word >= trial; });
      if (reach < wanted) continue;
      bound = trial;
      if (reach <= most) break;
    }
  }
  __syncthreads();  // all have read their counts
  if (thread == 0) storage.counts[64] = 0;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (words[i] != 0 && words[i] >= bound) storage.list[atomicAdd(&storage.counts[64], 1)] = words[i];
  }
  __syncthreads();
  return storage.counts[64];
}

// Calls take(rank, word) for the best `wanted` of the list's `found` words, in some thread each. A word's rank is the
// count of better ones: as many threads as fit share a word's comparisons.
template <typename Take>
__device__ void rank_list(SelectStorage& storage, int found, int wanted, Take&& take) {
  constexpr int kMostShares = 32;
  const int thread = static_cast<int>(threadIdx.x);
  int shares = 1;  // a power of two, so that a word's threads are neighbours in a warp
  while (shares < kMostShares && 2 * shares * found <= kSelectThreads) shares *= 2;
  for (int first = 0; first < found; first += kSelectThreads / shares) {
    const int i = first + thread / shares;
    const std::uint64_t word = i < found ? storage.list[i] : 0;
    int rank = 0;
    for (int other = thread % shares; other < found; other += shares) rank += storage.list[other] > word ? 1 : 0;
    for (int distance = 1; distance < shares; distance *= 2) rank += __shfl_xor_sync(kAllLanes, rank, distance);
    if (i < found && thread % shares == 0 && rank < wanted) take(rank, word);
  }
}

// Where the words of a stage lie: `count` a row, in blocks of kSlice, of which each leaves up to `kept` to the next.
struct SelectStage {
  const std::uint64_t* in;  // (rows, count), or null in the first stage, which reads scores
  std::uint64_t* out;       // (rows, slices, kept); the rest of each is 0
  std::int64_t count;
  int slices, wanted, kept;
};

// The block's words: of the last stage's, or word_at(place) of the row's scores.
template <int kPerThread, typename WordAt>
__device__ void load_words(std::uint64_t (&words)[kPerThread], const SelectStage& stage, std::int64_t row, int slice,
                           WordAt&& word_at) {
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const std::int64_t place = std::int64_t{slice} * kSlice + i * kSelectThreads + static_cast<int>(threadIdx.x);
    words[i] = 0;
    if (place < stage.count) words[i] = stage.in != nullptr ? stage.in[row * stage.count + place] : word_at(place);
  }
}

// Leaves the list to the next stage.
__device__ inline void store_list(const SelectStage& stage, int found, const SelectStorage& storage) {
  for (int i = static_cast<int>(threadIdx.x); i < stage.kept; i += kSelectThreads) {
    stage.out[blockIdx.x * std::int64_t{stage.kept} + i] = i < found ? storage.list[i] : 0;
  }
}

// Runs stage after stage until a row fits a block, by calling select(stage) for each, then last(stage) with out null.
// `scratch` is select_scratch_bytes().
template <typename Select, typename Last>
void run_select_stages(std::int64_t count, std::int64_t rows, int wanted, void* scratch, Select&& select, Last&& last) {
  SelectStage stage{nullptr, static_cast<std::uint64_t*>(scratch), count, 0, wanted, wanted + kSlack};
  while (stage.count > kSlice) {
    stage.slices = static_cast<int>(ceil_divide(stage.count, kSlice));
    select(stage);
    stage.in = stage.out;
    stage.out += rows * stage.slices * stage.kept;
    stage.count = std::int64_t{stage.slices} * stage.kept;
  }
  stage.slices = 1;
  stage.out = nullptr;
  last(stage);
}

inline std::size_t select_scratch_bytes(std::int64_t count, std::int64_t rows, int wanted) {
  std::int64_t words = 0;
  const auto add = [&](const SelectStage& stage) { words += rows * stage.slices * stage.kept; };
  run_select_stages(count, rows, wanted, nullptr, add, [](const SelectStage&) {});
  return static_cast<std::size_t>(words) * sizeof(std::uint64_t);
}

}  // namespace vistazo::cuda
