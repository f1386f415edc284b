#include "kernels/rope.h"

#include "kernels/base/error.h"
#include "kernels/cpu/row_blocks.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rope.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

// Rows in blocks that the workers take in turn; a row's heads share the token's cosines and sines, which stay in the L1
// cache. Limited by memory: every element is read and written once.
HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

template <typename T>
void rotate_head(T* head, const float* cosines, const float* sines, std::size_t half) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  T *first = head, *second = head + half;
  std::size_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    const auto a = load(d, first + i), b = load(d, second + i);
    const auto cosine = load(d, cosines + i), sine = load(d, sines + i);
    store(hn::NegMulAdd(b, sine, hn::Mul(a, cosine)), d, first + i);
    store(hn::MulAdd(a, sine, hn::Mul(b, cosine)), d, second + i);
  }
  if (i == half) return;
  const std::size_t rest = half - i;
  const auto a = load_some(d, first + i, rest), b = load_some(d, second + i, rest);
  const auto cosine = load_some(d, cosines + i, rest), sine = load_some(d, sines + i, rest);
  store_some(hn::NegMulAdd(b, sine, hn::Mul(a, cosine)), d, first + i, rest);
  store_some(hn::MulAdd(a, sine, hn::Mul(b, cosine)), d, second + i, rest);
}

template <typename T>
void rope_rows(const RopeArgs& args, std::int64_t first, std::int64_t last) {
  const auto half = static_cast<std::size_t>(args.head_dim / 2);
  for (std::int64_t row = first; row < last; ++row) {
    const std::int64_t token = row % args.tokens;
    if (token < args.prefix) continue;
    const float* cosines = args.table + (token - args.prefix) * args.head_dim;
    T* x = static_cast<T*>(args.x) + row * args.row_stride;
    for (int head = 0; head < args.heads; ++head) {
      rotate_head(x + std::int64_t{head} * args.head_dim, cosines, cosines + half, half);
    }
  }
}

void rope_f32(const RopeArgs& args, std::int64_t first, std::int64_t last) {
  rope_rows<float>(args, first, last);
}
void rope_bf16(const RopeArgs& args, std::int64_t first, std::int64_t last) {
  rope_rows<std::uint16_t>(args, first, last);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(rope_f32);
HWY_EXPORT(rope_bf16);

void rope(const RopeArgs& args, const ThreadPool& pool) {
  if (args.dtype != DType::f32 && args.dtype != DType::bf16) {
    fail(Error::Code::unsupported, "rope: {}; f32 or bf16 is needed", name_of(args.dtype));
  }
  const std::int64_t cols = std::int64_t{args.heads} * args.head_dim;
  if (args.batch < 0 || args.tokens < 1 || args.heads < 1 || args.head_dim < 2 || args.head_dim % 2 != 0 ||
      args.prefix < 0 || args.row_stride < cols) {
    fail(Error::Code::argument, "rope: batch {}, tokens {}, heads {}, head_dim {} (even), prefix {}, row stride {}",
         args.batch, args.tokens, args.heads, args.head_dim, args.prefix, args.row_stride);
  }
  const auto rows = args.dtype == DType::f32 ? HWY_DYNAMIC_DISPATCH(rope_f32) : HWY_DYNAMIC_DISPATCH(rope_bf16);
  for_each_row_block(pool, std::int64_t{args.batch} * args.tokens, cols,
                     [&](std::int64_t first, std::int64_t last) { rows(args, first, last); });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
