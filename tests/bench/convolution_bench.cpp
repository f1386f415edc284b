#include <benchmark/benchmark.h>

#include "kernels/base/error.h"
#include "kernels/cpu/convolution.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/bench/fastest.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

// 3 x 3 with silu on 32 x 32 grids. Arguments: batch, channels, groups, bf16, threads.
void bench_convolution(benchmark::State& state) {
  const int batch = static_cast<int>(state.range(0)), channels = static_cast<int>(state.range(1));
  const int groups = static_cast<int>(state.range(2)), side = 32;
  const DType dtype = state.range(3) ? DType::bf16 : DType::f32;
  const ThreadPool pool(static_cast<int>(state.range(4)));
  const ConvolutionShape shape{.in_channels = channels,
                               .out_channels = channels,
                               .kernel_height = 3,
                               .kernel_width = 3,
                               .padding = 1,
                               .groups = groups};
  const std::size_t weights = static_cast<std::size_t>(channels) * static_cast<std::size_t>(channels / groups) * 9;
  const std::size_t count = static_cast<std::size_t>(batch * side * side) * static_cast<std::size_t>(channels);
  const auto weight = testing::random_floats(weights, 1, 0.0f, 0.05f);
  testing::GuardedBuffer x(testing::random_floats(count, 2), dtype), y(count, dtype);
  testing::Fastest fastest;
  try {
    const cpu::PackedConvolution convolution(weight.data(), nullptr, shape, dtype);
    const ConvolutionArgs args{.x = x.data(),
                               .y = y.data(),
                               .batch = batch,
                               .height = side,
                               .width = side,
                               .y_dtype = dtype,
                               .activation = Activation::silu};
    convolution.run(args, pool);
    for (auto _ : state) fastest.time([&] { convolution.run(args, pool); });
  } catch (const Error& error) {
    state.SkipWithError(error.what());
    return;
  }
  const double work = 2.0 * static_cast<double>(weights) * batch * side * side;
  state.counters["FLOP/s"] = work / fastest.seconds();
}
BENCHMARK(bench_convolution)
    ->Name("convolution")
    ->ArgNames({"batch", "channels", "groups", "bf16", "threads"})
    ->ArgsProduct({{1, 4, 16}, {128}, {1, 128}, {0, 1}, {2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vistazo
