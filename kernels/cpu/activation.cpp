#include "kernels/activation.h"

#include "kernels/base/error.h"
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

template <Activation kActivation, typename T>
void activation_range(const ActivationArgs& args, std::int64_t first, std::int64_t last) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d), count = static_cast<std::size_t>(last - first);
  const T* x = static_cast<const T*>(args.x) + first;
  T* y = static_cast<T*>(args.y) + first;
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) store(activate<kActivation>(d, load(d, x + i)), d, y + i);
  if (i < count) store_some(activate<kActivation>(d, load_some(d, x + i, count - i)), d, y + i, count - i);
}

using ActivationRange = void (*)(const ActivationArgs&, std::int64_t, std::int64_t);

template <typename T>
ActivationRange choose_kind(Activation activation) {
  switch (activation) {
    case Activation::none:
      return activation_range<Activation::none, T>;
    case Activation::relu:
      return activation_range<Activation::relu, T>;
    case Activation::silu:
      return activation_range<Activation::silu, T>;
    case Activation::gelu:
      return activation_range<Activation::gelu, T>;
  }
  return nullptr;
}

ActivationRange choose_activation(const ActivationArgs& args) {
  return args.dtype == DType::f32 ? choose_kind<float>(args.activation) : choose_kind<std::uint16_t>(args.activation);
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
  const auto activation_range = HWY_DYNAMIC_DISPATCH(choose_activation)(args);
  for_each_row_block(pool, args.count, 1,
                     [&](std::int64_t first, std::int64_t last) { activation_range(args, first, last); });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
