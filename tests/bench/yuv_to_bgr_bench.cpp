#include <benchmark/benchmark.h>

#include "kernels/cpu/thread_pool.h"
#include "kernels/yuv_to_bgr.h"
#include "tests/support/yuv_frames.h"

namespace vistazo {
namespace {

// GB/s are those of what is read and written: 4.5 bytes a pixel.
void bench_kernel(benchmark::State& state) {
  const auto height = static_cast<int>(state.range(0)), width = height * 16 / 9;
  const ThreadPool pool(static_cast<int>(state.range(2)));
  testing::YuvFrame frame(height, width, static_cast<int>(state.range(1)), 0, 1);
  std::vector<std::uint8_t> bgr(static_cast<std::size_t>(frame.args.bgr_row_bytes * height));
  frame.args.bgr = bgr.data();
  for (auto _ : state) {
    cpu::yuv_to_bgr(frame.args, pool);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * std::int64_t{height} * width * 9 / 2);
}
BENCHMARK(bench_kernel)
    ->Name("yuv_to_bgr")
    ->ArgNames({"height", "chroma_step", "threads"})
    ->ArgsProduct({{720, 1080, 2160}, {1, 2}, {1, 2}})
    ->UseRealTime()
    ->MeasureProcessCPUTime();

}  // namespace
}  // namespace vistazo
