// Times attention on the GPU: a graph of many launches that rotate among several sets of random inputs, replayed; the
// median, as microseconds of one call and operations per second. Rows of a Markdown table.
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <memory>
#include <random>
#include <vector>

#include "kernels/attention.h"
#include "tests/cuda/device_buffer.h"

namespace vistazo {
namespace {

using testing::DeviceBuffer;

struct Shape {
  int batch, heads, tokens, dim;
};

struct Set {
  DeviceBuffer q, k, v, out;
};

std::vector<std::unique_ptr<Set>> random_sets(const Shape& s, DType dtype, int count) {
  const std::size_t size = std::size_t(s.batch) * s.heads * s.tokens * s.dim;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  // A short run of random values, repeated from other places: a normal distribution of millions takes seconds.
  std::vector<float> pool(1 << 16);
  for (float& x : pool) x = normal(generator);
  const auto values = [&] {
    std::vector<float> result(size);
    std::size_t at = generator() % pool.size();
    for (float& x : result) x = pool[at++ % (pool.size() - 7)];
    return result;
  };
  std::vector<std::unique_ptr<Set>> sets;
  for (int i = 0; i < count; ++i) {
    sets.emplace_back(new Set{DeviceBuffer(values(), dtype), DeviceBuffer(values(), dtype),
                              DeviceBuffer(values(), dtype), DeviceBuffer(size, dtype)});
  }
  return sets;
}

void run(const Shape& s, DType dtype, const Set& set, CudaStream stream) {
  const std::int64_t row = std::int64_t{s.heads} * s.dim;
  const auto operand = [&](const DeviceBuffer& x) { return AttentionOperand{x.data(), s.tokens * row, row}; };
  cuda::attention({.q = operand(set.q),
                   .k = operand(set.k),
                   .v = operand(set.v),
                   .out = set.out.data(),
                   .out_batch_stride = s.tokens * row,
                   .out_row_stride = row,
                   .batch = s.batch,
                   .heads = s.heads,
                   .queries = s.tokens,
                   .keys = s.tokens,
                   .head_dim = s.dim,
                   .value_dim = s.dim,
                   .scale = 1.0f / std::sqrt(static_cast<float>(s.dim)),
                   .dtype = dtype,
                   .scratch = nullptr},
                  stream);
}

float median_milliseconds(cudaGraphExec_t graph, CudaStream stream, int repeats) {
  cudaEvent_t begin, end;
  check_cuda(cudaEventCreate(&begin), "cudaEventCreate");
  check_cuda(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> times(static_cast<std::size_t>(repeats));
  for (float& time : times) {
    check_cuda(cudaEventRecord(begin, stream), "cudaEventRecord");
    check_cuda(cudaGraphLaunch(graph, stream), "cudaGraphLaunch");
    check_cuda(cudaEventRecord(end, stream), "cudaEventRecord");
    check_cuda(cudaEventSynchronize(end), "cudaEventSynchronize");
    check_cuda(cudaEventElapsedTime(&time, begin, end), "cudaEventElapsedTime");
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return times[static_cast<std::size_t>(repeats / 2)];
}

void bench(const Shape& s, DType dtype) {
  const double flops = 4.0 * s.batch * s.heads * s.tokens * static_cast<double>(s.tokens) * s.dim;
  const bool is_large = flops > 5e10;  // more memory than the second-level cache has
  const int count = is_large ? 1 : 4, launches = is_large ? 4 : 40, repeats = dtype == DType::f32 ? 5 : 21;
  const auto sets = random_sets(s, dtype, count);
  cudaStream_t stream;
  check_cuda(cudaStreamCreate(&stream), "cudaStreamCreate");
  run(s, dtype, *sets[0], stream);  // loads the module
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
  for (int i = 0; i < launches; ++i) run(s, dtype, *sets[static_cast<std::size_t>(i % count)], stream);
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check_cuda(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  check_cuda(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  median_milliseconds(executable, stream, 3);  // warms up
  const double first = median_milliseconds(executable, stream, repeats) / launches;
  const double second = median_milliseconds(executable, stream, repeats) / launches;
  const double best = std::min(first, second);
  fmt::print("| {}, {}, {}, {} | {} | {:.1f} | {:.1f} | {:.1f}% |\n", s.batch, s.heads, s.tokens, s.dim, name_of(dtype),
             best * 1e3, flops / best * 1e-9, 100 * std::abs(first - second) / best);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace vistazo

int main() try {
  using vistazo::DType;
  constexpr vistazo::Shape kShapes[] = {{1, 6, 580, 64}, {16, 6, 1940, 64}, {1, 12, 16384, 64}, {1, 8, 300, 32}};
  fmt::print("| batch, heads, tokens, dim | dtype | us | TFLOP/s | two runs differ by |\n|---|---|---|---|---|\n");
  for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
    for (const auto& shape : kShapes) vistazo::bench(shape, dtype);
  }
  return 0;
} catch (const std::exception& error) {
  fmt::print("{}\n", error.what());
  return 1;
}
