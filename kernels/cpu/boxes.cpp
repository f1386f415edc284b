// Elementwise work on boxes. refine_boxes costs two exponentials a row; proposal_scores is limited by reading the
// logits. Both give a task a chunk of rows.
#include "kernels/boxes.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/boxes.cpp"
// clang-format off
#include "hwy/foreach_target.h"
// clang-format on
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The largest value; NaN is skipped on every target, which Highway's Max does not promise.
float largest(const float* HWY_RESTRICT values, int count) {
  const hn::ScalableTag<float> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  auto best = hn::Set(d, -std::numeric_limits<float>::infinity());
  int i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto v = hn::LoadU(d, values + i);
    best = hn::IfThenElse(hn::Gt(v, best), v, best);
  }
  HWY_ALIGN float lane_bests[hn::MaxLanes(d)];
  hn::Store(best, d, lane_bests);
  float result = *std::max_element(lane_bests, lane_bests + lanes);
  for (; i < count; ++i) result = values[i] > result ? values[i] : result;
  return result;
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(largest);

void refine_boxes(const RefineBoxesArgs& args, const ThreadPool& pool) {
  if (args.rows < 0 || args.delta_rows < 1) {
    fail(Error::Code::argument, "refine_boxes: rows {}, delta_rows {}", args.rows, args.delta_rows);
  }
  constexpr std::int64_t kChunk = 1024;  // rows of a task: some 10 us
  pool.for_each((args.rows + kChunk - 1) / kChunk, [&](std::int64_t chunk, int) {
    for (std::int64_t row = chunk * kChunk; row < std::min(args.rows, (chunk + 1) * kChunk); ++row) {
      const float* delta = args.delta + row % args.delta_rows * 4;
      const float* box = args.reference + row * 4;
      const float width = box[2], height = box[3];
      float* y = args.y + row * 4;
      y[0] = box[0] + delta[0] * width;
      y[1] = box[1] + delta[1] * height;
      y[2] = width * std::exp(delta[2]);
      y[3] = height * std::exp(delta[3]);
    }
  });
}

void proposal_scores(const ProposalScoresArgs& args, const ThreadPool& pool) {
  if (args.batch < 0 || args.rows < 1 || args.classes < 1) {
    fail(Error::Code::argument, "proposal_scores: batch {}, rows {}, classes {}", args.batch, args.rows, args.classes);
  }
  const auto largest_of = HWY_DYNAMIC_DISPATCH(largest);
  const std::int64_t total = std::int64_t{args.batch} * args.rows;
  constexpr std::int64_t kChunk = 256;  // rows of a task: some 100 KB of logits
  pool.for_each((total + kChunk - 1) / kChunk, [&](std::int64_t chunk, int) {
    for (std::int64_t row = chunk * kChunk; row < std::min(total, (chunk + 1) * kChunk); ++row) {
      const bool is_valid = args.proposals == nullptr || args.proposals[row % args.rows * 4 + 2] > 0.0f;
      args.scores[row] = is_valid ? largest_of(args.logits + row * args.classes, args.classes)
                                  : -std::numeric_limits<float>::infinity();
    }
  });
}

}  // namespace vistazo::cpu
#endif
