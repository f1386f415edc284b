#include <benchmark/benchmark.h>

#include <optional>

#include "kernels/base/aligned.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/deformable_attention.h"
#include "tests/reference/deformable_attention.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

struct Problem {
  Problem(bool small, DType dtype) {
    args = {nullptr, nullptr, nullptr, nullptr, 1, 300, 16, 16, 1, {2}, {32}, {32}, 256, dtype};
    if (!small)
      args = {nullptr, nullptr, nullptr, nullptr, 1, 300, 8, 32, 3, {4, 4, 4}, {80, 40, 20}, {80, 40, 20}, 256, dtype};
    std::size_t area = 0;
    for (int l = 0; l < args.levels; ++l) area += std::size_t(args.level_height[l]) * args.level_width[l];
    const std::size_t cols = std::size_t(args.heads) * args.head_dim;
    value.emplace(testing::random_floats(area * cols, 1), dtype);
    out.emplace(args.queries * cols, dtype);
    reference = testing::random_floats(std::size_t(args.queries) * 4, 2, 0.5f, 0.2f);
    samples = std::size_t(args.queries) * args.heads * args.head_samples();
    offset_logits = testing::random_floats(samples * 3, 3);
    args.value = value->data();
    args.out = out->data();
    args.reference = reference.data();
    args.offset_logits = offset_logits.data();
  }

  std::optional<testing::GuardedBuffer> value, out;
  std::vector<float> reference, offset_logits;
  std::size_t samples;
  DeformableAttentionArgs args;
};

// GFLOP/s of the corners' multiply-adds: 4 corners a sample, 2 flops a channel.
void count_flops(benchmark::State& state, const Problem& problem) {
  const double flops = 8.0 * static_cast<double>(problem.samples) * problem.args.head_dim;
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

// shape 0: one level of 32 x 32, 16 heads of 16, 2 points; shape 1: three levels, 8 heads of 32, 4 points.
void bench_kernel(benchmark::State& state) {
  const Problem problem(state.range(0) == 0, state.range(1) ? DType::bf16 : DType::f32);
  const ThreadPool pool(static_cast<int>(state.range(2)));
  for (auto _ : state) {
    cpu::deformable_attention(problem.args, pool);
    benchmark::ClobberMemory();
  }
  count_flops(state, problem);
}
BENCHMARK(bench_kernel)
    ->Name("deformable_attention")
    ->ArgNames({"shape", "bf16", "threads"})
    ->ArgsProduct({{0, 1}, {0, 1}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void bench_plain_loop(benchmark::State& state) {
  Problem problem(state.range(0) == 0, DType::f32);
  const std::vector<float> value = problem.value->floats();
  for (auto _ : state) benchmark::DoNotOptimize(reference::deformable_attention<float>(problem.args, value));
  count_flops(state, problem);
}
BENCHMARK(bench_plain_loop)
    ->Name("deformable_attention/plain loop")
    ->ArgNames({"shape"})
    ->ArgsProduct({{0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vistazo
