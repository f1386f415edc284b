#include "kernels/elementwise.h"

#include "kernels/base/error.h"
#include "kernels/cpu/row_blocks.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/elementwise.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

// One pass over the rows, in blocks of rows that the workers take in turn. Limited by memory.
HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

// b null: y = a.
template <typename A, typename B, typename Y>
HWY_NOINLINE void add_row(const A* a, const B* b, Y* y, std::size_t cols) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t c = 0;
  if (b == nullptr) {
    for (; c + lanes <= cols; c += lanes) store(load(d, a + c), d, y + c);
    if (c < cols) store_some(load_some(d, a + c, cols - c), d, y + c, cols - c);
    return;
  }
  for (; c + lanes <= cols; c += lanes) store(hn::Add(load(d, a + c), load(d, b + c)), d, y + c);
  if (c == cols) return;
  store_some(hn::Add(load_some(d, a + c, cols - c), load_some(d, b + c, cols - c)), d, y + c, cols - c);
}

template <typename A, typename B, typename Y>
void add_rows(const AddArgs& args, std::int64_t first, std::int64_t last) {
  for (std::int64_t r = first; r < last; ++r) {
    const B* b = args.b == nullptr ? nullptr : static_cast<const B*>(args.b) + r % args.b_rows * args.cols;
    const std::int64_t a_row = args.a_rows > 0 ? r % args.a_rows : r;
    const A* a = static_cast<const A*>(args.a) + a_row * args.a_row_stride;
    const auto cols = static_cast<std::size_t>(args.cols);
    if (args.a_copy) add_row(a, static_cast<const B*>(nullptr), static_cast<Y*>(args.a_copy) + r * args.cols, cols);
    add_row(a, b, static_cast<Y*>(args.y) + r * args.y_row_stride, cols);
  }
}

using AddRows = void (*)(const AddArgs&, std::int64_t, std::int64_t);

template <typename A, typename B>
AddRows choose_y(const AddArgs& args) {
  return args.y_dtype == DType::f32 ? add_rows<A, B, float> : add_rows<A, B, std::uint16_t>;
}

template <typename A>
AddRows choose_b(const AddArgs& args) {
  const bool is_b_bf16 = args.b != nullptr && args.b_dtype == DType::bf16;
  return is_b_bf16 ? choose_y<A, std::uint16_t>(args) : choose_y<A, float>(args);
}

AddRows choose_add(const AddArgs& args) {
  return args.a_dtype == DType::f32 ? choose_b<float>(args) : choose_b<std::uint16_t>(args);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(choose_add);

static void require_f32_or_bf16(const char* name, DType dtype) {
  if (dtype == DType::f32 || dtype == DType::bf16) return;
  fail(Error::Code::unsupported, "add: {} is {}; f32 or bf16 is needed", name, name_of(dtype));
}

void add(const AddArgs& args, const ThreadPool& pool) {
  require_f32_or_bf16("a", args.a_dtype);
  if (args.b != nullptr) require_f32_or_bf16("b", args.b_dtype);
  require_f32_or_bf16("y", args.y_dtype);
  if (args.rows < 0 || args.a_rows < 0 || args.cols < 0 || (args.b != nullptr && args.b_rows <= 0)) {
    fail(Error::Code::argument, "add: {} rows, {} columns, {} rows of b", args.rows, args.cols, args.b_rows);
  }
  if (args.a_row_stride < args.cols || args.y_row_stride < args.cols) {
    fail(Error::Code::argument, "add: row strides {} and {} for {} columns", args.a_row_stride, args.y_row_stride,
         args.cols);
  }
  const auto add_rows = HWY_DYNAMIC_DISPATCH(choose_add)(args);
  for_each_row_block(pool, args.rows, args.cols,
                     [&](std::int64_t first, std::int64_t last) { add_rows(args, first, last); });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
