#include "kernels/layer_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"
#include "kernels/cpu/row_blocks.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/elementwise.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/layer_norm.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

// Three passes over a row: the mean, the deviations from it, the result. The second pass also sums the deviations
// themselves: that sum is the rounding error of the mean (times cols), and correcting both statistics by it keeps a
// constant row, or one with a large offset, exact where the plain formula loses it (Chan, Golub & LeVeque 1983,
// "Algorithms for computing the sample variance", eq. 1.7). The row comes from memory once and from the L1 cache twice.
// Workers take blocks of rows in turn. Limited by memory for rows that come from there.
HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

// Sum of a row. Four partial sums hide the latency of the addition.
template <typename X>
float row_sum(const X* x, std::size_t cols) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d), sum2 = hn::Zero(d), sum3 = hn::Zero(d);
  std::size_t c = 0;
  for (; c + 4 * lanes <= cols; c += 4 * lanes) {
    sum0 = hn::Add(sum0, load(d, x + c));
    sum1 = hn::Add(sum1, load(d, x + c + lanes));
    sum2 = hn::Add(sum2, load(d, x + c + 2 * lanes));
    sum3 = hn::Add(sum3, load(d, x + c + 3 * lanes));
  }
  for (; c + lanes <= cols; c += lanes) sum0 = hn::Add(sum0, load(d, x + c));
  if (c < cols) sum1 = hn::Add(sum1, load_some(d, x + c, cols - c));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
}

struct Deviations {
  float sum, squares;
};

// Sums of x - mean and of its square.
template <typename X>
Deviations deviations(const X* x, std::size_t cols, float mean) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto mean_vector = hn::Set(d, mean);
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d), squares0 = hn::Zero(d), squares1 = hn::Zero(d);
  std::size_t c = 0;
  for (; c + 2 * lanes <= cols; c += 2 * lanes) {
    const auto deviation0 = hn::Sub(load(d, x + c), mean_vector);
    const auto deviation1 = hn::Sub(load(d, x + c + lanes), mean_vector);
    sum0 = hn::Add(sum0, deviation0);
    sum1 = hn::Add(sum1, deviation1);
    squares0 = hn::MulAdd(deviation0, deviation0, squares0);
    squares1 = hn::MulAdd(deviation1, deviation1, squares1);
  }
  while (c < cols) {
    const std::size_t count = cols - c < lanes ? cols - c : lanes;
    const auto value = count == lanes ? load(d, x + c) : load_some(d, x + c, count);
    const auto deviation = hn::IfThenElseZero(hn::FirstN(d, count), hn::Sub(value, mean_vector));
    sum0 = hn::Add(sum0, deviation);
    squares0 = hn::MulAdd(deviation, deviation, squares0);
    c += count;
  }
  return {hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1))),
          hn::GetLane(hn::SumOfLanes(d, hn::Add(squares0, squares1)))};
}

template <Activation kActivation, typename X, typename Y>
void layer_norm_rows(const LayerNormArgs& args, std::int64_t first, std::int64_t last) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const std::size_t lanes = hn::Lanes(d), cols = static_cast<std::size_t>(args.cols);
  for (std::int64_t r = first; r < last; ++r) {
    const std::int64_t x_row = args.grid.windows > 0 ? args.grid.token_row(r) : r;
    const X* x = static_cast<const X*>(args.x) + x_row * args.x_row_stride;
    Y* y = static_cast<Y*>(args.y) + r * args.y_row_stride;
    const float count = static_cast<float>(cols);
    const float mean = row_sum(x, cols) / count;
    const Deviations from_mean = deviations(x, cols, mean);
    const float correction = from_mean.sum / count;
    const float variance = std::max(0.0f, from_mean.squares / count - correction * correction);
    const V mean_vector = hn::Set(d, mean), correction_vector = hn::Set(d, correction);
    const V factor = hn::Set(d, 1.0f / std::sqrt(variance + args.eps));
    const auto normalise = [&](V value, V scale, V bias) {
      const V deviation = hn::Sub(hn::Sub(value, mean_vector), correction_vector);
      return activate<kActivation>(d, hn::MulAdd(hn::Mul(deviation, factor), scale, bias));
    };
    std::size_t c = 0;
    for (; c + lanes <= cols; c += lanes) {
      store(normalise(load(d, x + c), load(d, args.scale + c), load(d, args.bias + c)), d, y + c);
    }
    if (c == cols) continue;
    const std::size_t rest = cols - c;
    const V scale = load_some(d, args.scale + c, rest), bias = load_some(d, args.bias + c, rest);
    store_some(normalise(load_some(d, x + c, rest), scale, bias), d, y + c, rest);
  }
}

using LayerNormRows = void (*)(const LayerNormArgs&, std::int64_t, std::int64_t);

template <typename X, typename Y>
LayerNormRows choose_activation(Activation activation) {
  switch (activation) {
    case Activation::none:
      return layer_norm_rows<Activation::none, X, Y>;
    case Activation::relu:
      return layer_norm_rows<Activation::relu, X, Y>;
    case Activation::silu:
      return layer_norm_rows<Activation::silu, X, Y>;
    case Activation::gelu:
      return layer_norm_rows<Activation::gelu, X, Y>;
  }
  return nullptr;
}

LayerNormRows choose_layer_norm(const LayerNormArgs& args) {
  const bool is_x_f32 = args.x_dtype == DType::f32, is_y_f32 = args.y_dtype == DType::f32;
  if (is_x_f32 && is_y_f32) return choose_activation<float, float>(args.activation);
  if (is_x_f32) return choose_activation<float, std::uint16_t>(args.activation);
  if (is_y_f32) return choose_activation<std::uint16_t, float>(args.activation);
  return choose_activation<std::uint16_t, std::uint16_t>(args.activation);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(choose_layer_norm);

static bool is_f32_or_bf16(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16;
}

void layer_norm(const LayerNormArgs& args, const ThreadPool& pool) {
  if (!is_f32_or_bf16(args.x_dtype) || !is_f32_or_bf16(args.y_dtype)) {
    fail(Error::Code::unsupported, "layer_norm: {} -> {}; f32 or bf16 is needed", name_of(args.x_dtype),
         name_of(args.y_dtype));
  }
  if (args.extra && args.y_dtype != DType::f32) {
    fail(Error::Code::unsupported, "layer_norm: an extra result goes with a result in f32, not {}",
         name_of(args.y_dtype));
  }
  if (args.rows < 0 || args.cols <= 0) {
    fail(Error::Code::argument, "layer_norm: {} rows, {} columns", args.rows, args.cols);
  }
  if (args.x_row_stride < args.cols || args.y_row_stride < args.cols) {
    fail(Error::Code::argument, "layer_norm: row strides {} and {} for {} columns", args.x_row_stride,
         args.y_row_stride, args.cols);
  }
  check_grid(args);
  const auto layer_norm_rows = HWY_DYNAMIC_DISPATCH(choose_layer_norm)(args);
  for_each_row_block(pool, args.rows, args.cols,
                     [&](std::int64_t first, std::int64_t last) { layer_norm_rows(args, first, last); });
  if (!args.extra) return;
  add({.a = args.y,
       .b = args.addend,
       .y = args.extra,
       .rows = args.rows,
       .b_rows = args.rows,
       .cols = args.cols,
       .a_row_stride = args.y_row_stride,
       .y_row_stride = args.cols,
       .a_dtype = args.y_dtype,
       .b_dtype = args.extra_dtype,
       .y_dtype = args.extra_dtype},
      pool);
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
