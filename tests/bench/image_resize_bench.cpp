#include <benchmark/benchmark.h>

#include "kernels/base/aligned.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/image_resize.h"
#include "tests/reference/image_resize.h"

namespace vistazo {
namespace {

struct Shape {
  int height, width, out_height, out_width;
};
constexpr Shape kShapes[] = {{3000, 4000, 512, 512}, {1080, 1920, 640, 640}, {480, 640, 512, 512}};

reference::Bytes image(const Shape& s, int channels) {
  reference::Bytes bytes(std::size_t(s.height) * s.width * channels);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 2654435761u >> 13);
  return bytes;
}

// GB/s are those of the source pixels.
void bench_kernel(benchmark::State& state) {
  const Shape s = kShapes[state.range(0)];
  const int channels = state.range(1) ? 1 : 3;
  const ThreadPool pool(static_cast<int>(state.range(2)));
  const reference::Bytes pixels = image(s, channels);
  const AlignedBuffer y(std::size_t(s.out_height) * s.out_width * 12);
  ImageResizeArgs args = {pixels.data(),
                          s.height,
                          s.width,
                          std::int64_t{s.width} * channels,
                          channels == 3 ? PixelOrder::rgb : PixelOrder::gray,
                          y.as<float>(),
                          s.out_height,
                          s.out_width,
                          0,
                          0,
                          s.out_height,
                          s.out_width,
                          1.0f / 255,
                          {0.485f, 0.456f, 0.406f},
                          {0.229f, 0.224f, 0.225f},
                          {0, 0, 0},
                          true,
                          state.range(3) != 0,
                          nullptr};
  const AlignedBuffer scratch(cpu::image_resize_scratch_bytes(args));
  args.scratch = scratch.data();
  for (auto _ : state) {
    cpu::image_resize(args, pool);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(pixels.size()));
}
BENCHMARK(bench_kernel)
    ->Name("image_resize")
    ->ArgNames({"shape", "gray", "threads", "rounding"})
    ->ArgsProduct({{0, 1, 2}, {0, 1}, {1, 2}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void bench_plain_loop(benchmark::State& state) {
  const Shape s = kShapes[state.range(0)];
  const reference::Bytes pixels = image(s, 3);
  for (auto _ : state) {
    benchmark::DoNotOptimize(reference::image_resize(pixels, s.height, s.width, 3, s.out_height, s.out_width, true));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(pixels.size()));
}
BENCHMARK(bench_plain_loop)
    ->Name("image_resize/plain loop")
    ->ArgNames({"shape"})
    ->ArgsProduct({{0, 1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vistazo
