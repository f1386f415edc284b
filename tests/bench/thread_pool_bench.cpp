// What it costs to start and end a loop of one empty item per thread: our pool and OpenMP's team. `pause` is the time
// in microseconds that the caller works on its own between two loops.
#include <benchmark/benchmark.h>

#include <chrono>

#include "kernels/cpu/thread_pool.h"

namespace vistazo {
namespace {

void work_for(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

void bench_pool(benchmark::State& state) {
  const ThreadPool pool(static_cast<int>(state.range(0)));
  const std::chrono::microseconds pause(state.range(1));
  for (auto _ : state) {
    pool.for_each(pool.threads(), [](std::int64_t item, int) { benchmark::DoNotOptimize(item); });
    work_for(pause);
  }
}

void bench_openmp(benchmark::State& state) {
  const int threads = static_cast<int>(state.range(0));
  const std::chrono::microseconds pause(state.range(1));
  for (auto _ : state) {
#pragma omp parallel num_threads(threads)
    {
      int item = 0;
      benchmark::DoNotOptimize(item);
    }
    work_for(pause);
  }
}

void cases(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"threads", "pause"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const std::int64_t pause : {0, 10, 100, 1000}) bench->Args({2, pause});
}
BENCHMARK(bench_pool)->Name("thread_pool")->Apply(cases);
BENCHMARK(bench_openmp)->Name("openmp")->Apply(cases);

}  // namespace
}  // namespace vistazo
