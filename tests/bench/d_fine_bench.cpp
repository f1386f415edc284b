// Kernels that D-FINE and DEIMv2 brought: what they cost at the sizes of their large models, on one thread.
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/attention.h"
#include "kernels/base/aligned.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/distribution.h"
#include "kernels/gates.h"
#include "kernels/rms_norm.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

constexpr int kQueries = 300, kDim = 256, kBins = 33;

DType dtype_of(const benchmark::State& state) {
  return state.range(0) ? DType::bf16 : DType::f32;
}

void count_bytes(benchmark::State& state, std::size_t bytes) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
}

// Attention within 1605 tokens and 6 heads of 64, in a packed projection, q and k rotated or not.
void bench_attention(benchmark::State& state) {
  const int tokens = 1605, heads = 6, head_dim = 64, prefix = 5;
  const std::int64_t row = std::int64_t{heads} * head_dim;
  const DType dtype = dtype_of(state);
  testing::GuardedBuffer qkv(testing::random_floats(static_cast<std::size_t>(tokens * 3 * row), 1), dtype);
  testing::GuardedBuffer out(static_cast<std::size_t>(tokens * row), dtype);
  const std::vector<float> table(std::size_t{tokens - prefix} * head_dim, 0.70710678f);
  const auto operand = [&](std::int64_t column) {
    return AttentionOperand{qkv.as<std::byte>() + column * static_cast<std::int64_t>(size_of(dtype)), tokens * 3 * row,
                            3 * row};
  };
  AttentionArgs args{.q = operand(0),
                     .k = operand(row),
                     .v = operand(2 * row),
                     .out = out.data(),
                     .out_batch_stride = tokens * row,
                     .out_row_stride = row,
                     .batch = 1,
                     .heads = heads,
                     .queries = tokens,
                     .keys = tokens,
                     .head_dim = head_dim,
                     .value_dim = head_dim,
                     .scale = 0.125f,
                     .dtype = dtype,
                     .scratch = nullptr};
  if (state.range(1)) args.rope = {table.data(), prefix};
  const ThreadPool pool(1);
  AlignedBuffer scratch(cpu::attention_scratch_bytes(args, pool));
  args.scratch = scratch.data();
  for (auto _ : state) cpu::attention(args, pool);
}
BENCHMARK(bench_attention)
    ->Name("dinov3_attention")
    ->ArgNames({"bf16", "rope"})
    ->ArgsProduct({{0, 1}, {0, 1}})
    ->Unit(benchmark::kMillisecond);

void bench_rms_norm(benchmark::State& state) {
  const DType dtype = dtype_of(state);
  testing::GuardedBuffer x(testing::random_floats(std::size_t{kQueries} * kDim, 1), dtype), y(x.floats(), dtype);
  const auto scale = testing::random_floats(kDim, 2);
  const ThreadPool pool(1);
  for (auto _ : state) {
    cpu::rms_norm({x.data(), y.data(), scale.data(), kQueries, kDim, kDim, kDim, 1e-6f, dtype, dtype}, pool);
  }
  count_bytes(state, 2 * std::size_t{kQueries} * kDim * size_of(dtype));
}
BENCHMARK(bench_rms_norm)->Name("rms_norm")->ArgNames({"bf16"})->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond);

// The inside of DINOv3 S+: 1605 tokens, 1536 wide.
void bench_swiglu(benchmark::State& state) {
  const int rows = 1605, cols = 1536;
  const DType dtype = dtype_of(state);
  testing::GuardedBuffer x(testing::random_floats(std::size_t{rows} * 2 * cols, 1), dtype);
  testing::GuardedBuffer y(std::size_t{rows} * cols, dtype);
  const ThreadPool pool(1);
  for (auto _ : state) cpu::swiglu({x.data(), y.data(), rows, cols, 2 * cols, dtype}, pool);
  count_bytes(state, 3 * std::size_t{rows} * cols * size_of(dtype));
}
BENCHMARK(bench_swiglu)->Name("swiglu")->ArgNames({"bf16"})->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond);

void bench_gated_sum(benchmark::State& state) {
  const auto gates = testing::random_floats(std::size_t{kQueries} * 2 * kDim, 1);
  const auto a = testing::random_floats(std::size_t{kQueries} * kDim, 2), b = testing::random_floats(a.size(), 3);
  std::vector<float> y(a.size());
  const ThreadPool pool(1);
  for (auto _ : state) {
    cpu::gated_sum({gates.data(), a.data(), b.data(), y.data(), kQueries, kDim, DType::f32}, pool);
  }
  count_bytes(state, 5 * y.size() * sizeof(float));
}
BENCHMARK(bench_gated_sum)->Name("gated_sum")->Unit(benchmark::kMicrosecond);

void bench_edges(benchmark::State& state) {
  const bool has_peaks = state.range(0) != 0;
  const auto logits = testing::random_floats(std::size_t{kQueries} * 4 * kBins, 1);
  const auto weights = testing::random_floats(kBins, 2), boxes = testing::random_floats(std::size_t{kQueries} * 4, 3);
  std::vector<float> y(std::size_t{kQueries} * 4 * 5);
  const EdgeLogits edges{logits.data(), kQueries, kBins};
  const ThreadPool pool(1);
  for (auto _ : state) {
    if (has_peaks)
      cpu::edge_peaks({edges, y.data(), 4, DType::f32}, pool);
    else
      cpu::edge_boxes({edges, weights.data(), boxes.data(), y.data(), 4.0f}, pool);
  }
  count_bytes(state, logits.size() * sizeof(float));
}
BENCHMARK(bench_edges)
    ->Name("edge_boxes, edge_peaks")
    ->ArgNames({"peaks"})
    ->Arg(0)
    ->Arg(1)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vistazo
