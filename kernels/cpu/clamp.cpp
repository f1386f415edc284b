#include "kernels/clamp.h"

#include <algorithm>
#include <cstring>

#include "kernels/base/error.h"
#include "kernels/cpu/row_blocks.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/clamp.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

// One pass, in blocks that the workers take in turn. Limited by memory; mask_rows writes the masked rows only.
HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

template <typename T>
void clamp_all(T* x, std::size_t count, float low, float high) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto lowest = hn::Set(d, low), highest = hn::Set(d, high);
  // Selects, since Min and Max drop a NaN on some targets.
  const auto clamped = [=](auto value) HWY_ATTR {
    const auto raised = hn::IfThenElse(hn::Lt(value, lowest), lowest, value);
    return hn::IfThenElse(hn::Gt(raised, highest), highest, raised);
  };
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) store(clamped(load(d, x + i)), d, x + i);
  if (i < count) store_some(clamped(load_some(d, x + i, count - i)), d, x + i, count - i);
}

void clamp_f32(float* x, std::size_t count, float low, float high) {
  clamp_all(x, count, low, high);
}
void clamp_bf16(std::uint16_t* x, std::size_t count, float low, float high) {
  clamp_all(x, count, low, high);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(clamp_f32);
HWY_EXPORT(clamp_bf16);

void clamp(const ClampArgs& args, const ThreadPool& pool) {
  if (args.dtype != DType::f32 && args.dtype != DType::bf16) {
    fail(Error::Code::unsupported, "clamp: {}; f32 or bf16 is needed", name_of(args.dtype));
  }
  if (args.count < 0 || !(args.low <= args.high)) {
    fail(Error::Code::argument, "clamp: {} values to {} .. {}", args.count, args.low, args.high);
  }
  for_each_row_block(pool, args.count, 1, [&](std::int64_t first, std::int64_t last) {
    const auto count = static_cast<std::size_t>(last - first);
    if (args.dtype == DType::f32) {
      HWY_DYNAMIC_DISPATCH(clamp_f32)(static_cast<float*>(args.x) + first, count, args.low, args.high);
    } else {
      HWY_DYNAMIC_DISPATCH(clamp_bf16)(static_cast<std::uint16_t*>(args.x) + first, count, args.low, args.high);
    }
  });
}

void mask_rows(const MaskRowsArgs& args, const ThreadPool& pool) {
  if (args.batch < 0 || args.rows < 1 || args.cols < 1) {
    fail(Error::Code::argument, "mask_rows: batch {}, rows {}, columns {}", args.batch, args.rows, args.cols);
  }
  const std::size_t row_bytes = static_cast<std::size_t>(args.cols) * size_of(args.dtype);
  for_each_row_block(pool, std::int64_t{args.batch} * args.rows, args.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      if (args.mask[row % args.rows] != 0.0f) continue;
      std::memset(static_cast<std::byte*>(args.x) + static_cast<std::size_t>(row) * row_bytes, 0, row_bytes);
    }
  });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
