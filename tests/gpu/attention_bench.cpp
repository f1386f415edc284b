// Times attention on the GPU at the shapes of tests/bench/peers/bench_sdpa.py: a graph of many launches that rotate
// among sets of random inputs, replayed; the median of one call, and operations per second. Rows of a Markdown table.
//
//   attention_bench            what the launcher chooses, bf16
//   attention_bench --f16      and f16, --f32 and f32, up to 4301 tokens
//   attention_bench --choices  every division of the work that sm90.cu and sm90_pair.cu have, best first, and the times
//                              that the model behind the choice gives those that it considers
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/attention.h"
#include "kernels/base/check_cuda.h"
#include "kernels/base/half.h"
#include "kernels/cuda/attention/tiles.h"
#include "tests/cuda/device_buffer.h"

namespace vistazo {
namespace {

struct Shape {
  const char* name;
  int batch, heads, tokens, dim;
  double flops() const { return 4.0 * batch * heads * tokens * static_cast<double>(tokens) * dim; }
  std::int64_t elements() const { return std::int64_t{batch} * heads * tokens * dim; }
};

constexpr Shape kShapes[] = {{"rfdetr-n window b1", 4, 6, 145, 64}, {"rfdetr-n window b16", 64, 6, 145, 64},
                             {"rfdetr-n full b1", 1, 6, 580, 64},   {"rfdetr-n full b16", 16, 6, 580, 64},
                             {"rfdetr-m window b1", 4, 6, 325, 64}, {"rfdetr-m full b1", 1, 6, 1300, 64},
                             {"rfdetr-l window b1", 4, 6, 485, 64}, {"rfdetr-l window b16", 64, 6, 485, 64},
                             {"rfdetr-l full b1", 1, 6, 1940, 64},  {"rfdetr-l full b16", 16, 6, 1940, 64},
                             {"deimv2-x trunk b1", 1, 6, 1605, 64}, {"deimv2-x trunk b16", 16, 6, 1605, 64},
                             {"yolos-tiny b1", 1, 3, 4301, 64},     {"yolos-base b1", 1, 12, 4301, 64},
                             {"yolos-base b8", 8, 12, 4301, 64},    {"aifi b1", 1, 8, 400, 32},
                             {"aifi b32", 32, 8, 400, 32},          {"decoder self b1", 1, 8, 300, 32},
                             {"decoder self b32", 32, 8, 300, 32},  {"16k d64", 1, 12, 16384, 64},
                             {"16k d32", 1, 8, 16384, 32},          {"16k d128", 1, 16, 16384, 128},
                             {"4096px d64", 1, 6, 65536, 64}};

// Normal values of a dtype in device memory (f32: pairs of bf16, which read as f32 are the second), from which every
// operand is cut: a run of random ones, doubled until it is long enough, for a normal distribution of millions takes
// seconds.
class Pool {
 public:
  Pool(std::size_t bytes, DType dtype) : bytes_(bytes) {
    std::mt19937 generator(1);
    std::normal_distribution<float> normal;
    std::vector<std::uint16_t> values(1 << 20);
    for (std::uint16_t& x : values) {
      const float value = normal(generator);
      x = dtype == DType::f16 ? testing::f16_from_float(value) : bf16_from_float(value);
    }
    check_cuda(cudaMalloc(&memory_, bytes), "cudaMalloc");
    std::size_t filled = values.size() * sizeof(values[0]);
    check_cuda(cudaMemcpy(memory_, values.data(), filled, cudaMemcpyHostToDevice), "cudaMemcpy");
    for (; filled < bytes; filled *= 2) {
      check_cuda(cudaMemcpy(at(filled), memory_, std::min(filled, bytes - filled), cudaMemcpyDeviceToDevice),
                 "cudaMemcpy");
    }
  }
  ~Pool() { cudaFree(memory_); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  std::byte* at(std::size_t byte) const { return static_cast<std::byte*>(memory_) + byte; }
  std::size_t bytes() const { return bytes_; }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_;
};

constexpr int kSets = 4;

AttentionArgs args_of(const Shape& s, DType dtype, const Pool& pool, int set) {
  const std::int64_t row = std::int64_t{s.heads} * s.dim;
  const std::size_t bytes = (static_cast<std::size_t>(s.elements()) * size_of(dtype) + 4096) / 256 * 256;
  const auto place = [&](int which) { return pool.at(static_cast<std::size_t>(set * 3 + which) * bytes); };
  const auto operand = [&](int which) { return AttentionOperand{place(which), s.tokens * row, row}; };
  return {.q = operand(0),
          .k = operand(1),
          .v = operand(2),
          .out = pool.at(pool.bytes() / 2 + static_cast<std::size_t>(set) * bytes),
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
          .scratch = nullptr};
}

using Run = std::function<void(const AttentionArgs&, CudaStream)>;

// Microseconds of one call: the median of replays of a graph of calls.
double microseconds(const Shape& s, DType dtype, const Pool& pool, const Run& run, int replays) {
  const int calls = std::clamp(static_cast<int>(1e12 / s.flops()), 1, 64);
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  cudaEvent_t begin, end;
  check_cuda(cudaStreamCreate(&stream), "cudaStreamCreate");
  run(args_of(s, dtype, pool, 0), stream);  // loads the module
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
  for (int i = 0; i < calls; ++i) run(args_of(s, dtype, pool, i % kSets), stream);
  check_cuda(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  check_cuda(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  check_cuda(cudaEventCreate(&begin), "cudaEventCreate");
  check_cuda(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> times;
  for (int i = -2; i < replays; ++i) {
    float milliseconds = 0.0f;
    check_cuda(cudaEventRecord(begin, stream), "cudaEventRecord");
    check_cuda(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
    check_cuda(cudaEventRecord(end, stream), "cudaEventRecord");
    check_cuda(cudaEventSynchronize(end), "cudaEventSynchronize");
    check_cuda(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
    if (i >= 0) times.push_back(milliseconds);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  std::nth_element(times.begin(), times.begin() + replays / 2, times.end());
  return times[static_cast<std::size_t>(replays / 2)] * 1e3 / calls;
}

void bench(const Shape& s, DType dtype, const Pool& pool) {
  const Run run = [](const AttentionArgs& args, CudaStream stream) { cuda::attention(args, stream); };
  const int replays = s.flops() > 1e12 ? 3 : 11;
  const double first = microseconds(s, dtype, pool, run, replays), second = microseconds(s, dtype, pool, run, replays);
  const double best = std::min(first, second);
  fmt::print("| {} | {}, {}, {}, {} | {} | {:.1f} | {:.1f} | {:.1f}% |\n", s.name, s.batch, s.heads, s.tokens, s.dim,
             name_of(dtype), best, s.flops() / best * 1e-6, 100 * std::abs(first - second) / best);
}

std::string name_of(const cuda::Sm90Choice& choice) {
  return choice.is_paired ? "pairs" : fmt::format("{}x{}", choice.consumers, choice.split);
}

void bench_choices(const Shape& s, const Pool& pool) {
  int multiprocessors = 0;
  check_cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0), "cudaDeviceGetAttribute");
  std::vector<std::pair<double, std::string>> times;
  const auto time = [&](const std::string& name, const Run& run) {
    times.emplace_back(microseconds(s, DType::bf16, pool, run, s.flops() > 1e12 ? 2 : 5), name);
  };
  time("sm80", [](const auto& args, CudaStream stream) { cuda::attention(args, stream, cuda::AttentionPath::sm80); });
  for (const int consumers : {1, 2, 3, 4}) {
    for (const int split : {1, 2, 3}) {
      if (s.dim > 64 && (split > 1 || consumers != 2)) continue;
      if (consumers == 4 && split > 1) continue;
      const cuda::Sm90Choice choice{consumers, split, multiprocessors};
      time(name_of(choice), [choice](const auto& args, CudaStream stream) {
        cuda::attention_sm90(cuda::make_attention_launch(args), choice, stream);
      });
    }
  }
  if (s.dim <= 64) {
    time("pairs", [](const auto& args, CudaStream stream) {
      cuda::attention_sm90_pair(cuda::make_attention_launch(args), stream);
    });
  }
  std::sort(times.begin(), times.end());
  const AttentionArgs args = args_of(s, DType::bf16, pool, 0);
  fmt::print("{:20s} {:5.0f} TFLOP/s, chosen {}:", s.name, s.flops() / times[0].first * 1e-6,
             name_of(cuda::choose_sm90(args, multiprocessors)));
  for (const auto& [us, name] : times) fmt::print(" {} {:.1f}", name, us);
  fmt::print("; by the model");
  for (const auto& [choice, us] : cuda::estimate_sm90(args, multiprocessors))
    fmt::print(" {} {:.1f}", name_of(choice), us);
  fmt::print("\n");
}

}  // namespace
}  // namespace vistazo

int main(int argc, char** argv) try {
  using vistazo::DType;
  const std::string_view mode = argc > 1 ? argv[1] : "";
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 12);
  const DType dtype = mode == "--f16" ? DType::f16 : mode == "--f32" ? DType::f32 : DType::bf16;
  const vistazo::Pool pool(std::size_t{4} << 30, dtype);
  if (mode == "--choices") {
    for (const auto& shape : vistazo::kShapes) vistazo::bench_choices(shape, pool);
    return 0;
  }
  fmt::print("| shape | batch, heads, tokens, dim | dtype | us | TFLOP/s | two runs differ by |\n");
  fmt::print("|---|---|---|---|---|---|\n");
  for (const auto& shape : vistazo::kShapes) {
    if (dtype != DType::f32 || shape.tokens < 5000) vistazo::bench(shape, dtype, pool);
  }
  return 0;
} catch (const std::exception& error) {
  fmt::print("{}\n", error.what());
  return 1;
}
