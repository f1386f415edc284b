#include <benchmark/benchmark.h>

#include "kernels/activation.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/elementwise.h"
#include "kernels/softmax.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

constexpr int kRows = 1028, kCols = 768;
constexpr std::size_t kCount = std::size_t{kRows} * kCols;

// y = a + b, or y = a. Arguments: with b, bf16 output, threads. Bytes are those read and written.
void bench_add(benchmark::State& state) {
  const bool has_b = state.range(0) != 0;
  const DType y_dtype = state.range(1) ? DType::bf16 : DType::f32;
  const ThreadPool pool(static_cast<int>(state.range(2)));
  const auto values = testing::random_floats(kCount, 1);
  testing::GuardedBuffer y(kCount, y_dtype);
  const AddArgs args{.a = values.data(),
                     .b = has_b ? values.data() : nullptr,
                     .y = y.data(),
                     .rows = kRows,
                     .b_rows = kRows,
                     .cols = kCols,
                     .a_row_stride = kCols,
                     .y_row_stride = kCols,
                     .a_dtype = DType::f32,
                     .b_dtype = DType::f32,
                     .y_dtype = y_dtype};
  for (auto _ : state) cpu::add(args, pool);
  state.SetBytesProcessed(state.iterations() *
                          static_cast<std::int64_t>(kCount * ((has_b ? 8 : 4) + size_of(y_dtype))));
}
BENCHMARK(bench_add)
    ->Name("add")
    ->ArgNames({"b", "bf16", "threads"})
    ->ArgsProduct({{0, 1}, {0, 1}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

// In place. Arguments: activation, bf16, threads. Items are elements.
void bench_activation(benchmark::State& state) {
  const DType dtype = state.range(1) ? DType::bf16 : DType::f32;
  const ThreadPool pool(static_cast<int>(state.range(2)));
  testing::GuardedBuffer x(testing::random_floats(kCount, 1), dtype), y(kCount, dtype);
  const ActivationArgs args{.x = x.data(),
                            .y = y.data(),
                            .count = static_cast<std::int64_t>(kCount),
                            .activation = static_cast<Activation>(state.range(0)),
                            .dtype = dtype};
  for (auto _ : state) cpu::activation(args, pool);
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kCount));
}
BENCHMARK(bench_activation)
    ->Name("activation")
    ->ArgNames({"activation", "bf16", "threads"})
    ->ArgsProduct({{1, 2, 3}, {0, 1}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

// Arguments: columns, threads. Items are elements.
void bench_softmax(benchmark::State& state) {
  const int cols = static_cast<int>(state.range(0));
  const ThreadPool pool(static_cast<int>(state.range(1)));
  const auto x = testing::random_floats(kCount, 1);
  std::vector<float> y(kCount);
  const SoftmaxArgs args{.x = x.data(), .y = y.data(), .rows = static_cast<std::int64_t>(kCount) / cols, .cols = cols};
  for (auto _ : state) cpu::softmax(args, pool);
  state.SetItemsProcessed(state.iterations() * args.rows * cols);
}
BENCHMARK(bench_softmax)
    ->Name("softmax")
    ->ArgNames({"cols", "threads"})
    ->ArgsProduct({{16, 91, 768}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vistazo
