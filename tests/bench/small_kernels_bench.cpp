// Kernels that are a small part of any pass: what they cost at the sizes of a detector.
#include <benchmark/benchmark.h>

#include "kernels/boxes.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/depth_to_space.h"
#include "kernels/grid_resize.h"
#include "kernels/map_resize.h"
#include "kernels/pooling.h"
#include "kernels/sine_embedding.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

constexpr int kQueries = 300, kClasses = 91, kProposals = 4096;

// 300 boxes into 512 columns. Bytes are those written.
void bench_sine_embedding(benchmark::State& state) {
  const DType dtype = state.range(0) ? DType::bf16 : DType::f32;
  const auto boxes = testing::random_floats(4 * kQueries, 1, 0.5f, 0.2f);
  testing::GuardedBuffer y(std::size_t{4} * 128 * kQueries, dtype);
  const ThreadPool pool(1);
  for (auto _ : state) cpu::sine_embedding({boxes.data(), y.data(), kQueries, 128, 10000.0f, dtype}, pool);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(4 * 128 * kQueries * size_of(dtype)));
}
BENCHMARK(bench_sine_embedding)
    ->Name("sine_embedding")
    ->ArgNames({"bf16"})
    ->Arg(0)
    ->Arg(1)
    ->Unit(benchmark::kMicrosecond);

void bench_refine_boxes(benchmark::State& state) {
  const auto reference = testing::random_floats(4 * kQueries, 1), delta = testing::random_floats(4 * kQueries, 2);
  std::vector<float> y(reference.size());
  const ThreadPool pool(1);
  for (auto _ : state) cpu::refine_boxes({reference.data(), delta.data(), y.data(), kQueries, kQueries}, pool);
  state.SetBytesProcessed(state.iterations() * kQueries * 48);
}
BENCHMARK(bench_refine_boxes)->Name("refine_boxes")->Unit(benchmark::kMicrosecond);

// The best class of 4096 proposals.
void bench_proposal_scores(benchmark::State& state) {
  const auto logits = testing::random_floats(std::size_t{kProposals} * kClasses, 1);
  const auto proposals = testing::random_floats(4 * kProposals, 2, 0.5f, 0.01f);
  std::vector<float> scores(kProposals);
  const ThreadPool pool(1);
  for (auto _ : state) {
    cpu::proposal_scores({logits.data(), proposals.data(), scores.data(), 1, kProposals, kClasses}, pool);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(logits.size()) * 4);
}
BENCHMARK(bench_proposal_scores)->Name("proposal_scores")->Unit(benchmark::kMicrosecond);

// Position embeddings of 32 x 32 x 384 to 64 x 64, bicubic: once for an input size, not for an image.
void bench_grid_resize(benchmark::State& state) {
  const auto x = testing::random_floats(32 * 32 * 384, 1);
  std::vector<float> y(64 * 64 * 384);
  for (auto _ : state) {
    cpu::grid_resize({x.data(), y.data(), 32, 32, 64, 64, 384, Interpolation::bicubic, true});
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(x.size() + y.size()) * 4);
}
BENCHMARK(bench_grid_resize)->Name("grid_resize")->Unit(benchmark::kMicrosecond);

// The upsampling of a 40 x 40 feature map of 384 channels. Bytes are those read and written.
void bench_depth_to_space(benchmark::State& state) {
  const auto x = testing::random_floats(std::size_t{40} * 40 * 4 * 384, 1);
  std::vector<float> y(x.size());
  const ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) cpu::depth_to_space({x.data(), y.data(), 1, 40, 40, 384, DType::f32}, pool);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(x.size()) * 8);
}
BENCHMARK(bench_depth_to_space)
    ->Name("depth_to_space")
    ->ArgNames({"threads"})
    ->Arg(1)
    ->Arg(2)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

// ResNet's 3 x 3 maximum over a stem of 320 x 320 x 64. Bytes are those read and written.
void bench_pooling(benchmark::State& state) {
  const DType dtype = state.range(0) ? DType::bf16 : DType::f32;
  const int side = 320, channels = 64;
  const PoolingWindow window{.height = 3, .width = 3, .stride = 2, .padding = 1};
  const auto count = static_cast<std::size_t>(side * side * channels);
  testing::GuardedBuffer x(testing::random_floats(count, 1), dtype), y(count / 4, dtype);
  const ThreadPool pool(2);
  for (auto _ : state) {
    cpu::pooling({x.data(), y.data(), 1, side, side, channels, window, Pooling::max, channels, channels, dtype}, pool);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(count * 5 / 4 * size_of(dtype)));
}
BENCHMARK(bench_pooling)
    ->Name("pooling")
    ->ArgNames({"bf16"})
    ->Arg(0)
    ->Arg(1)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

// 40 x 40 x 256 to 80 x 80, into one half of 512 channels. Arguments: bf16, bilinear.
void bench_map_resize(benchmark::State& state) {
  const DType dtype = state.range(0) ? DType::bf16 : DType::f32;
  const auto interpolation = state.range(1) ? MapInterpolation::bilinear : MapInterpolation::nearest;
  const int side = 40, channels = 256;
  const auto count = static_cast<std::size_t>(side * side * channels);
  testing::GuardedBuffer x(testing::random_floats(count, 1), dtype), y(8 * count, dtype);
  const ThreadPool pool(2);
  for (auto _ : state) {
    cpu::map_resize(
        {x.data(), y.data(), 1, side, side, 2 * side, 2 * side, channels, interpolation, channels, 2 * channels, dtype},
        pool);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(count * 5 * size_of(dtype)));
}
BENCHMARK(bench_map_resize)
    ->Name("map_resize")
    ->ArgNames({"bf16", "bilinear"})
    ->ArgsProduct({{0, 1}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vistazo
