#include <benchmark/benchmark.h>

#include "kernels/base/aligned.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/rows.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

// The patches of a 512 x 512 RGB image in 2 x 2 windows: patch, bf16, threads. Bytes are those read and written.
void bench_patches(benchmark::State& state) {
  const int patch = static_cast<int>(state.range(0)), side = 512 / patch / 2 * 2;
  const DType dtype = state.range(1) ? DType::bf16 : DType::f32;
  const ThreadPool pool(static_cast<int>(state.range(2)));
  const WindowGrid grid = {side, side, 2, 1};
  const std::size_t count = std::size_t(3) * side * side * patch * patch;
  const std::vector<float> pixels = testing::random_floats(count, 1);
  const std::size_t y_bytes = std::size_t(grid.tokens()) * 3 * patch * patch * size_of(dtype);
  const AlignedBuffer y(y_bytes);
  for (auto _ : state) {
    cpu::patches({pixels.data(), y.data(), 1, 3, patch, grid, dtype}, pool);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(count * 4 + y_bytes));
}
BENCHMARK(bench_patches)
    ->Name("patches")
    ->ArgNames({"patch", "bf16", "threads"})
    ->ArgsProduct({{14, 16}, {0, 1}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vistazo
