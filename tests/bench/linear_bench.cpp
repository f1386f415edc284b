#include <benchmark/benchmark.h>

#include "kernels/base/error.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/bench/fastest.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

enum Epilogue : std::int64_t {
  kPlain,
  kGelu,
  kAccumulate,
  kStrided
};  // strided: x and y are slices of twice the width

// Arguments: rows, in, out, bf16, epilogue, threads. y has x's dtype, except where it accumulates in f32.
void bench_linear(benchmark::State& state) {
  const std::int64_t rows = state.range(0), in = state.range(1), out = state.range(2), epilogue = state.range(4);
  const DType dtype = state.range(3) ? DType::bf16 : DType::f32;
  const ThreadPool pool(static_cast<int>(state.range(5)));
  const auto weight = testing::random_floats(static_cast<std::size_t>(in * out), 1, 0.0f, 0.05f);
  const auto bias = testing::random_floats(static_cast<std::size_t>(out), 2);
  const std::int64_t widening = epilogue == kStrided ? 2 : 1;
  testing::GuardedBuffer x(testing::random_floats(static_cast<std::size_t>(rows * in * widening), 3), dtype);
  const AlignedBuffer y(static_cast<std::size_t>(rows * out * widening) * sizeof(float));
  std::fill_n(y.as<float>(), y.size() / sizeof(float), 0.0f);
  testing::Fastest fastest;
  try {
    const cpu::PackedLinear linear(weight.data(), bias.data(), static_cast<int>(in), static_cast<int>(out), dtype);
    const LinearArgs args{.x = x.data(),
                          .y = y.data(),
                          .rows = rows,
                          .x_row_stride = in * widening,
                          .y_row_stride = out * widening,
                          .y_dtype = epilogue == kAccumulate ? DType::f32 : dtype,
                          .activation = epilogue == kGelu ? Activation::gelu : Activation::none,
                          .accumulate = epilogue == kAccumulate};
    linear.run(args, pool);
    for (auto _ : state) fastest.time([&] { linear.run(args, pool); });
  } catch (const Error& error) {
    state.SkipWithError(error.what());
    return;
  }
  const double work = 2.0 * static_cast<double>(rows * in * out);
  state.counters["FLOP/s"] = work / fastest.seconds();
}

void shapes(benchmark::internal::Benchmark* bench) {
  constexpr int kLayers[][2] = {{192, 576}, {192, 768}, {256, 256}, {256, 1024}, {768, 192}, {1024, 256}};
  for (const std::int64_t bf16 : {0, 1}) {
    for (const auto& layer : kLayers) {
      for (const std::int64_t rows : {300, 1028, 2056, 4096}) bench->Args({rows, layer[0], layer[1], bf16, kPlain, 2});
      for (const std::int64_t epilogue : {kGelu, kAccumulate, kStrided}) {
        bench->Args({1028, layer[0], layer[1], bf16, epilogue, 2});
      }
    }
    for (const std::int64_t rows : {1, 16}) bench->Args({rows, 256, 256, bf16, kPlain, 2});
  }
}
BENCHMARK(bench_linear)
    ->Name("linear")
    ->ArgNames({"rows", "in", "out", "bf16", "epilogue", "threads"})
    ->Apply(shapes)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vistazo
