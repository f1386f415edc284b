#include "kernels/gates.h"

#include "kernels/base/error.h"
#include "kernels/cpu/row_blocks.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gates.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

// One pass over the rows, in blocks of rows that the workers take in turn. Limited by the exponentials for rows in a
// cache, by memory for others.
HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

template <typename T>
void swiglu_rows(const SwigluArgs& args, std::int64_t first, std::int64_t last) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d), cols = static_cast<std::size_t>(args.cols);
  for (std::int64_t r = first; r < last; ++r) {
    const T* gate = static_cast<const T*>(args.x) + r * args.x_row_stride;
    const T* value = gate + cols;
    T* y = static_cast<T*>(args.y) + r * args.cols;
    std::size_t c = 0;
    for (; c + lanes <= cols; c += lanes) {
      store(hn::Mul(silu(d, load(d, gate + c)), load(d, value + c)), d, y + c);
    }
    if (c == cols) continue;
    const std::size_t rest = cols - c;
    store_some(hn::Mul(silu(d, load_some(d, gate + c, rest)), load_some(d, value + c, rest)), d, y + c, rest);
  }
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid(D d, V x) {
  const auto one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exp(d, hn::Neg(x))));
}

template <typename B>
void gated_sum_rows(const GatedSumArgs& args, std::int64_t first, std::int64_t last) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d), cols = static_cast<std::size_t>(args.cols);
  const auto mix = [d](auto gate_a, auto a, auto gate_b, auto b)
                       HWY_ATTR { return hn::MulAdd(sigmoid(d, gate_a), a, hn::Mul(sigmoid(d, gate_b), b)); };
  for (std::int64_t r = first; r < last; ++r) {
    const float* gate_a = args.gates + r * 2 * args.cols;
    const float* gate_b = gate_a + cols;
    const float* a = args.a + r * args.cols;
    const B* b = static_cast<const B*>(args.b) + r * args.cols;
    float* y = args.y + r * args.cols;
    std::size_t c = 0;
    for (; c + lanes <= cols; c += lanes) {
      store(mix(load(d, gate_a + c), load(d, a + c), load(d, gate_b + c), load(d, b + c)), d, y + c);
    }
    if (c == cols) continue;
    const std::size_t rest = cols - c;
    store_some(mix(load_some(d, gate_a + c, rest), load_some(d, a + c, rest), load_some(d, gate_b + c, rest),
                   load_some(d, b + c, rest)),
               d, y + c, rest);
  }
}

void swiglu_f32(const SwigluArgs& args, std::int64_t first, std::int64_t last) {
  swiglu_rows<float>(args, first, last);
}
void swiglu_bf16(const SwigluArgs& args, std::int64_t first, std::int64_t last) {
  swiglu_rows<std::uint16_t>(args, first, last);
}
void gated_sum_f32(const GatedSumArgs& args, std::int64_t first, std::int64_t last) {
  gated_sum_rows<float>(args, first, last);
}
void gated_sum_bf16(const GatedSumArgs& args, std::int64_t first, std::int64_t last) {
  gated_sum_rows<std::uint16_t>(args, first, last);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(swiglu_f32);
HWY_EXPORT(swiglu_bf16);
HWY_EXPORT(gated_sum_f32);
HWY_EXPORT(gated_sum_bf16);

static void check(const char* op, std::int64_t rows, int cols, DType dtype) {
  if (dtype != DType::f32 && dtype != DType::bf16) {
    fail(Error::Code::unsupported, "{}: {}; f32 or bf16 is needed", op, name_of(dtype));
  }
  if (rows < 0 || cols <= 0) fail(Error::Code::argument, "{}: {} rows, {} columns", op, rows, cols);
}

void swiglu(const SwigluArgs& args, const ThreadPool& pool) {
  check("swiglu", args.rows, args.cols, args.dtype);
  if (args.x_row_stride < 2 * std::int64_t{args.cols}) {
    fail(Error::Code::argument, "swiglu: a row stride of {} for twice {} columns", args.x_row_stride, args.cols);
  }
  const auto rows = args.dtype == DType::f32 ? HWY_DYNAMIC_DISPATCH(swiglu_f32) : HWY_DYNAMIC_DISPATCH(swiglu_bf16);
  for_each_row_block(pool, args.rows, args.cols,
                     [&](std::int64_t first, std::int64_t last) { rows(args, first, last); });
}

void gated_sum(const GatedSumArgs& args, const ThreadPool& pool) {
  check("gated_sum", args.rows, args.cols, args.b_dtype);
  const auto rows =
      args.b_dtype == DType::f32 ? HWY_DYNAMIC_DISPATCH(gated_sum_f32) : HWY_DYNAMIC_DISPATCH(gated_sum_bf16);
  for_each_row_block(pool, args.rows, args.cols,
                     [&](std::int64_t first, std::int64_t last) { rows(args, first, last); });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
