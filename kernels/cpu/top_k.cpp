// The k largest of a row in one pass. A buffer of candidates, at least twice k, fills up; then a selection keeps the
// best k and the k-th best becomes the threshold that later columns must beat. Rows in random order beat it rarely, so
// that the pass is a vector compare per column; a row in the worst order costs a selection per k columns, still linear.
// At last the k best are sorted.
//
// A candidate is one 64-bit word, (inverted score key, column), so that ascending words are descending scores with ties
// by column. A task owns every kTasks-th row and one buffer.
#include "kernels/top_k.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "kernels/base/aligned.h"
#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/top_k.cpp"
// clang-format off
#include "hwy/foreach_target.h"
// clang-format on
#include "hwy/highway.h"

#ifndef VISTAZO_KERNELS_CPU_TOP_K_ONCE
#define VISTAZO_KERNELS_CPU_TOP_K_ONCE
namespace vistazo::cpu {

// A signed integer in the order of the scores: -0 equals 0, NaN is the smallest.
inline std::int32_t score_key(float score) {
  const auto bits = std::bit_cast<std::int32_t>(score + 0.0f);  // -0 + 0 is 0
  return score != score ? std::numeric_limits<std::int32_t>::min() : bits ^ ((bits >> 31) & 0x7fffffff);
}

inline std::uint64_t candidate_word(std::int32_t key, int column) {
  const std::uint32_t unsigned_key = static_cast<std::uint32_t>(key) ^ 0x80000000u;
  return std::uint64_t{~unsigned_key} << 32 | static_cast<std::uint32_t>(column);
}

inline std::int32_t key_of_candidate(std::uint64_t word) {
  return static_cast<std::int32_t>(~static_cast<std::uint32_t>(word >> 32) ^ 0x80000000u);
}

}  // namespace vistazo::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Appends the columns from `column` on whose key beats the threshold, until the row ends or the buffer may be full; one
// vector of columns needs free space for all of its lanes. Moves `column` on and returns the new end of the candidates.
std::uint64_t* append_above(const float* HWY_RESTRICT scores, int cols, std::int32_t threshold, std::uint64_t* next,
                            const std::uint64_t* end, int& column) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto limit = hn::Set(di, threshold), magnitude = hn::Set(di, 0x7fffffff);
  const auto smallest = hn::Set(di, std::numeric_limits<std::int32_t>::min());
  int i = column;
  for (; i + lanes <= cols && end - next >= lanes; i += lanes) {
    const auto v = hn::Add(hn::LoadU(d, scores + i), hn::Zero(d));
    const auto bits = hn::BitCast(di, v);
    const auto ordered = hn::Xor(bits, hn::And(hn::ShiftRight<31>(bits), magnitude));
    const auto key = hn::IfThenElse(hn::RebindMask(di, hn::IsNaN(v)), smallest, ordered);
    const auto above = hn::Gt(key, limit);
    if (hn::AllFalse(di, above)) continue;
    std::uint64_t lane_bits = 0;
    hn::StoreMaskBits(di, above, reinterpret_cast<std::uint8_t*>(&lane_bits));
    for (; lane_bits != 0; lane_bits &= lane_bits - 1) {
      const int best = i + std::countr_zero(lane_bits);
      *next++ = candidate_word(score_key(scores[best]), best);
    }
  }
  for (; i + lanes > cols && i < cols && next < end; ++i) {
    const std::int32_t key = score_key(scores[i]);
    if (key > threshold) *next++ = candidate_word(key, i);
  }
  column = i;
  return next;
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(append_above);

namespace {

constexpr std::int64_t kTasks = 64;
// Smallest buffer: the first threshold is then good enough that few columns beat it.
constexpr std::int64_t kLeastCandidates = 1024;

std::size_t buffer_bytes(const TopKArgs& args) {
  const std::int64_t candidates =
      std::min<std::int64_t>(args.cols, std::max(kLeastCandidates, 2 * std::int64_t{args.k}));
  return align_up(candidates * sizeof(std::uint64_t));
}

void top_k_row(const TopKArgs& args, std::int64_t row, std::uint64_t* buffer) {
  const float* scores = args.scores + row * args.cols;
  std::uint64_t* const end = buffer + std::min<std::int64_t>(args.cols, buffer_bytes(args) / sizeof(std::uint64_t));
  std::uint64_t* next = buffer;
  int column = 0;
  for (; next < end; ++column) *next++ = candidate_word(score_key(scores[column]), column);

  while (column < args.cols) {
    std::nth_element(buffer, buffer + args.k - 1, next);
    const std::int32_t threshold = key_of_candidate(buffer[args.k - 1]);
    next = HWY_DYNAMIC_DISPATCH(append_above)(scores, args.cols, threshold, buffer + args.k, end, column);
  }
  std::nth_element(buffer, buffer + args.k - 1, next);
  std::sort(buffer, buffer + args.k);
  for (int i = 0; i < args.k; ++i) {
    const auto best = static_cast<std::int32_t>(buffer[i] & 0xffffffffu);
    args.index[row * args.k + i] = best;
    if (args.values) args.values[row * args.k + i] = scores[best];
  }
}

}  // namespace

std::size_t top_k_scratch_bytes(const TopKArgs& args) {
  return static_cast<std::size_t>(std::min(args.rows, kTasks)) * buffer_bytes(args);
}

void top_k(const TopKArgs& args, const ThreadPool& pool) {
  if (args.rows < 0 || args.cols < 1 || args.k < 1 || args.k > args.cols) {
    fail(Error::Code::argument, "top_k: k {} of {} columns, {} rows", args.k, args.cols, args.rows);
  }
  pool.for_each(std::min(args.rows, kTasks), [&](std::int64_t task, int) {
    auto* buffer = reinterpret_cast<std::uint64_t*>(static_cast<std::byte*>(args.scratch) + task * buffer_bytes(args));
    for (std::int64_t row = task; row < args.rows; row += kTasks) top_k_row(args, row, buffer);
  });
}

}  // namespace vistazo::cpu
#endif
