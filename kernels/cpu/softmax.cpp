#include "kernels/softmax.h"

#include <limits>

#include "kernels/base/error.h"
#include "kernels/cpu/row_blocks.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/softmax.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

// Three passes over a row: its maximum, the exponentials and their sum, the division. Workers take blocks of rows in
// turn. Limited by the exponentials: the row stays in the L1 cache.
HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

float row_max(const float* x, std::size_t cols) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto largest = lowest;
  std::size_t c = 0;
  for (; c + lanes <= cols; c += lanes) largest = hn::Max(largest, load(d, x + c));
  if (c < cols) {
    const auto tail = hn::IfThenElse(hn::FirstN(d, cols - c), load_some(d, x + c, cols - c), lowest);
    largest = hn::Max(largest, tail);
  }
  return hn::GetLane(hn::MaxOfLanes(d, largest));
}

void softmax_rows(const SoftmaxArgs& args, std::int64_t first, std::int64_t last) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d), cols = static_cast<std::size_t>(args.cols);
  for (std::int64_t r = first; r < last; ++r) {
    const float* x = args.x + r * args.cols;
    float* y = args.y + r * args.cols;
    const auto largest = hn::Set(d, row_max(x, cols));
    auto sum = hn::Zero(d);
    std::size_t c = 0;
    for (; c + lanes <= cols; c += lanes) {
      const auto value = exp(d, hn::Sub(load(d, x + c), largest));
      sum = hn::Add(sum, value);
      store(value, d, y + c);
    }
    if (c < cols) {
      const auto value = exp(d, hn::Sub(load_some(d, x + c, cols - c), largest));
      sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, cols - c), value));
      store_some(value, d, y + c, cols - c);
    }
    const auto factor = hn::Div(hn::Set(d, 1.0f), hn::SumOfLanes(d, sum));
    for (c = 0; c + lanes <= cols; c += lanes) store(hn::Mul(load(d, y + c), factor), d, y + c);
    if (c < cols) store_some(hn::Mul(load_some(d, y + c, cols - c), factor), d, y + c, cols - c);
  }
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(softmax_rows);

void softmax(const SoftmaxArgs& args, const ThreadPool& pool) {
  if (args.rows < 0 || args.cols <= 0) {
    fail(Error::Code::argument, "softmax: {} rows, {} columns", args.rows, args.cols);
  }
  for_each_row_block(pool, args.rows, args.cols, [&](std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(softmax_rows)(args, first, last);
  });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
