#include "kernels/rms_norm.h"

#include <cmath>

#include "kernels/base/error.h"
#include "kernels/cpu/row_blocks.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rms_norm.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

// Two passes over a row: the sum of squares, the result. The row comes from memory once and from the L1 cache once.
// Workers take blocks of rows in turn. Limited by memory for rows that come from there.
HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

// Two partial sums hide the latency of the multiply-add.
template <typename X>
float sum_of_squares(const X* x, std::size_t cols) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d);
  std::size_t c = 0;
  for (; c + 2 * lanes <= cols; c += 2 * lanes) {
    const auto value0 = load(d, x + c), value1 = load(d, x + c + lanes);
    sum0 = hn::MulAdd(value0, value0, sum0);
    sum1 = hn::MulAdd(value1, value1, sum1);
  }
  for (; c + lanes <= cols; c += lanes) {
    const auto value = load(d, x + c);
    sum0 = hn::MulAdd(value, value, sum0);
  }
  if (c < cols) {
    const auto value = load_some(d, x + c, cols - c);
    sum1 = hn::MulAdd(value, value, sum1);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
}

template <typename X, typename Y>
void rms_norm_rows(const RmsNormArgs& args, std::int64_t first, std::int64_t last) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d), cols = static_cast<std::size_t>(args.cols);
  for (std::int64_t r = first; r < last; ++r) {
    const X* x = static_cast<const X*>(args.x) + r * args.x_row_stride;
    Y* y = static_cast<Y*>(args.y) + r * args.y_row_stride;
    const float mean = sum_of_squares(x, cols) / static_cast<float>(args.cols);
    const auto factor = hn::Set(d, 1.0f / std::sqrt(mean + args.eps));
    std::size_t c = 0;
    for (; c + lanes <= cols; c += lanes) {
      store(hn::Mul(hn::Mul(load(d, x + c), factor), load(d, args.scale + c)), d, y + c);
    }
    if (c == cols) continue;
    const std::size_t rest = cols - c;
    const auto scale = load_some(d, args.scale + c, rest);
    store_some(hn::Mul(hn::Mul(load_some(d, x + c, rest), factor), scale), d, y + c, rest);
  }
}

using RmsNormRows = void (*)(const RmsNormArgs&, std::int64_t, std::int64_t);

RmsNormRows choose_rms_norm(const RmsNormArgs& args) {
  const bool is_x_f32 = args.x_dtype == DType::f32, is_y_f32 = args.y_dtype == DType::f32;
  if (is_x_f32) return is_y_f32 ? rms_norm_rows<float, float> : rms_norm_rows<float, std::uint16_t>;
  return is_y_f32 ? rms_norm_rows<std::uint16_t, float> : rms_norm_rows<std::uint16_t, std::uint16_t>;
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(choose_rms_norm);

void rms_norm(const RmsNormArgs& args, const ThreadPool& pool) {
  for (const DType dtype : {args.x_dtype, args.y_dtype}) {
    if (dtype == DType::f32 || dtype == DType::bf16) continue;
    fail(Error::Code::unsupported, "rms_norm: {} -> {}; f32 or bf16 is needed", name_of(args.x_dtype),
         name_of(args.y_dtype));
  }
  if (args.rows < 0 || args.cols <= 0 || args.x_row_stride < args.cols || args.y_row_stride < args.cols) {
    fail(Error::Code::argument, "rms_norm: {} rows, {} columns, row strides {} and {}", args.rows, args.cols,
         args.x_row_stride, args.y_row_stride);
  }
  const auto rms_norm_rows = HWY_DYNAMIC_DISPATCH(choose_rms_norm)(args);
  for_each_row_block(pool, args.rows, args.cols,
                     [&](std::int64_t first, std::int64_t last) { rms_norm_rows(args, first, last); });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
