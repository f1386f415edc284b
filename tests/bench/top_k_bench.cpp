#include <benchmark/benchmark.h>

#include <algorithm>
#include <numeric>

#include "kernels/base/aligned.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/top_k.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

// One row of scores in random or ascending (the worst) order; bytes are those of the scores.
void bench_top_k(benchmark::State& state) {
  const int cols = static_cast<int>(state.range(0)), k = static_cast<int>(state.range(1));
  std::vector<float> scores = testing::random_floats(cols, 1);
  if (state.range(2)) std::sort(scores.begin(), scores.end());
  std::vector<std::int32_t> index(k);
  TopKArgs args = {scores.data(), nullptr, index.data(), 1, cols, k, nullptr};
  const AlignedBuffer scratch(cpu::top_k_scratch_bytes(args));
  args.scratch = scratch.data();
  const ThreadPool pool(1);
  for (auto _ : state) {
    cpu::top_k(args, pool);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * cols * 4);
}
BENCHMARK(bench_top_k)
    ->Name("top_k")
    ->ArgNames({"cols", "k", "ascending"})
    ->ArgsProduct({{1024, 27300, 65536}, {100, 300}, {0, 1}})
    ->Unit(benchmark::kMicrosecond);

// The plain way for comparison: std::partial_sort of the columns.
void bench_partial_sort(benchmark::State& state) {
  const int cols = static_cast<int>(state.range(0)), k = static_cast<int>(state.range(1));
  const std::vector<float> scores = testing::random_floats(cols, 1);
  std::vector<std::int32_t> index(cols);
  for (auto _ : state) {
    std::iota(index.begin(), index.end(), 0);
    std::partial_sort(index.begin(), index.begin() + k, index.end(), [&](std::int32_t a, std::int32_t b) {
      return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
    });
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * cols * 4);
}
BENCHMARK(bench_partial_sort)
    ->Name("top_k/std::partial_sort")
    ->ArgNames({"cols", "k"})
    ->ArgsProduct({{1024, 27300, 65536}, {300}})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vistazo
