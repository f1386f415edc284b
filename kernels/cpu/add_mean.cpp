#include "kernels/add_mean.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/cpu/row_blocks.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/add_mean.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

// A task owns a block of columns of one image and walks down them twice: the sum, then the addition. The maps that use
// it are the smallest of a pyramid (100 tokens of 64 columns), which stay in the L1 or L2 cache.
HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

template <typename T>
void add_mean_columns(const AddMeanArgs& args, std::int64_t batch, std::size_t first, std::size_t last) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d), cols = static_cast<std::size_t>(args.cols);
  const std::size_t tokens = static_cast<std::size_t>(args.tokens);
  const T* x = static_cast<const T*>(args.x) + static_cast<std::size_t>(batch) * tokens * cols;
  T* y = static_cast<T*>(args.y) + static_cast<std::size_t>(batch) * tokens * cols;
  const auto share = hn::Set(d, 1.0f / static_cast<float>(args.tokens));
  for (std::size_t c = first; c < last; c += lanes) {
    const std::size_t count = std::min(lanes, last - c);
    auto sum = hn::Zero(d);
    if (count == lanes) {
      for (std::size_t t = 0; t < tokens; ++t) sum = hn::Add(sum, load(d, x + t * cols + c));
      const auto mean = hn::Mul(sum, share);
      for (std::size_t t = 0; t < tokens; ++t) store(hn::Add(load(d, x + t * cols + c), mean), d, y + t * cols + c);
      continue;
    }
    for (std::size_t t = 0; t < tokens; ++t) sum = hn::Add(sum, load_some(d, x + t * cols + c, count));
    const auto mean = hn::Mul(sum, share);
    for (std::size_t t = 0; t < tokens; ++t) {
      store_some(hn::Add(load_some(d, x + t * cols + c, count), mean), d, y + t * cols + c, count);
    }
  }
}

void add_mean_f32(const AddMeanArgs& args, std::int64_t batch, std::size_t first, std::size_t last) {
  add_mean_columns<float>(args, batch, first, last);
}
void add_mean_bf16(const AddMeanArgs& args, std::int64_t batch, std::size_t first, std::size_t last) {
  add_mean_columns<std::uint16_t>(args, batch, first, last);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(add_mean_f32);
HWY_EXPORT(add_mean_bf16);

void add_mean(const AddMeanArgs& args, const ThreadPool& pool) {
  if (args.dtype != DType::f32 && args.dtype != DType::bf16) {
    fail(Error::Code::unsupported, "add_mean: {}; f32 or bf16 is needed", name_of(args.dtype));
  }
  if (args.batch < 0 || args.tokens < 1 || args.cols < 1) {
    fail(Error::Code::argument, "add_mean: batch {}, tokens {}, columns {}", args.batch, args.tokens, args.cols);
  }
  const auto columns =
      args.dtype == DType::f32 ? HWY_DYNAMIC_DISPATCH(add_mean_f32) : HWY_DYNAMIC_DISPATCH(add_mean_bf16);
  constexpr std::int64_t kBlock = 64;  // columns of a task: whole cache lines of either dtype
  const bool is_small = std::int64_t{args.tokens} * args.cols < kSerialElements;
  const std::int64_t block = is_small ? args.cols : kBlock, blocks = (args.cols + block - 1) / block;
  pool.for_each(args.batch * blocks, [&](std::int64_t item, int) {
    const std::int64_t first = item % blocks * block;
    columns(args, item / blocks, static_cast<std::size_t>(first),
            static_cast<std::size_t>(std::min<std::int64_t>(first + block, args.cols)));
  });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
