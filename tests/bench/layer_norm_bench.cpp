#include <benchmark/benchmark.h>

#include "kernels/cpu/thread_pool.h"
#include "kernels/layer_norm.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

// f32 to f32 or bf16. Arguments: rows, cols, bf16, activation, threads. Bytes are those read and written.
void bench_layer_norm(benchmark::State& state) {
  const std::int64_t rows = state.range(0);
  const int cols = static_cast<int>(state.range(1));
  const DType y_dtype = state.range(2) ? DType::bf16 : DType::f32;
  const ThreadPool pool(static_cast<int>(state.range(4)));
  const std::size_t count = static_cast<std::size_t>(rows * cols);
  testing::GuardedBuffer x(testing::random_floats(count, 1), DType::f32), y(count, y_dtype);
  const std::vector<float> scale(static_cast<std::size_t>(cols), 1.5f), bias(static_cast<std::size_t>(cols), 0.5f);
  const LayerNormArgs args{.x = x.data(),
                           .y = y.data(),
                           .scale = scale.data(),
                           .bias = bias.data(),
                           .rows = rows,
                           .cols = cols,
                           .x_row_stride = cols,
                           .y_row_stride = cols,
                           .eps = 1e-6f,
                           .activation = static_cast<Activation>(state.range(3)),
                           .x_dtype = DType::f32,
                           .y_dtype = y_dtype};
  for (auto _ : state) cpu::layer_norm(args, pool);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(count * (4 + size_of(y_dtype))));
}
BENCHMARK(bench_layer_norm)
    ->Name("layer_norm")
    ->ArgNames({"rows", "cols", "bf16", "activation", "threads"})
    ->ArgsProduct({{300, 4096}, {192, 256, 768}, {0, 1}, {static_cast<int>(Activation::none)}, {1, 2}})
    ->ArgsProduct({{4096}, {256}, {0, 1}, {static_cast<int>(Activation::silu)}, {2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vistazo
