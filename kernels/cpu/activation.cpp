#include "kernels/activation.h"

#include "kernels/base/error.h"
#include "kernels/cpu/activation_range.h"
#include "kernels/cpu/row_blocks.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activation.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

// One pass in blocks that the workers take in turn. Limited by memory, except for silu and gelu in a cache.
HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

template <Activation kActivation, typename X, typename Y>
void activation_loop(const void* from, void* to, std::int64_t first, std::int64_t last) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d), count = static_cast<std::size_t>(last - first);
  const X* x = static_cast<const X*>(from) + first;
  Y* y = static_cast<Y*>(to) + first;
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) store(activate<kActivation>(d, load(d, x + i)), d, y + i);
  if (i < count) store_some(activate<kActivation>(d, load_some(d, x + i, count - i)), d, y + i, count - i);
}

using ActivationLoop = void (*)(const void*, void*, std::int64_t, std::int64_t);

template <typename X, typename Y>
ActivationLoop choose_kind(Activation activation) {
  switch (activation) {
    case Activation::none:
      return activation_loop<Activation::none, X, Y>;
    case Activation::relu:
      return activation_loop<Activation::relu, X, Y>;
    case Activation::silu:
      return activation_loop<Activation::silu, X, Y>;
    case Activation::gelu:
      return activation_loop<Activation::gelu, X, Y>;
  }
  return nullptr;
}

// x and y: f32 or bf16, not from bf16 to f32.
ActivationLoop choose_activation(Activation activation, DType x_dtype, DType y_dtype) {
  if (x_dtype == DType::bf16) return choose_kind<std::uint16_t, std::uint16_t>(activation);
  return y_dtype == DType::bf16 ? choose_kind<float, std::uint16_t>(activation) : choose_kind<float, float>(activation);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(choose_activation);

void activation(const ActivationArgs& args, const ThreadPool& pool) {
  if (args.dtype != DType::f32 && args.dtype != DType::bf16) {
    fail(Error::Code::unsupported, "activation: dtype {}; f32 or bf16 is needed", name_of(args.dtype));
  }
  if (args.count < 0) fail(Error::Code::argument, "activation: {} elements", args.count);
  const auto loop = HWY_DYNAMIC_DISPATCH(choose_activation)(args.activation, args.dtype, args.dtype);
  for_each_row_block(pool, args.count, 1,
                     [&](std::int64_t first, std::int64_t last) { loop(args.x, args.y, first, last); });
}

void activate_range(const float* x, void* y, std::int64_t count, Activation activation, DType y_dtype) {
  HWY_DYNAMIC_DISPATCH(choose_activation)(activation, DType::f32, y_dtype)(x, y, 0, count);
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
