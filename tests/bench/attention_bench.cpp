// Attention against oneDNN's matmul at the shapes of a ViT block, in the same run: each iteration times one after the
// other, on as many threads as OMP_NUM_THREADS says. GFLOP/s counts 4 * queries * keys * dim per head. `share` is the
// ratio of the medians.
#include <benchmark/benchmark.h>
#include <fmt/core.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <dnnl.hpp>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/attention.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

using cpu::AttentionPath;

struct Shape {
  int batch, heads, tokens, dim;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

template <typename Body>
double seconds(const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// x (rows, in) times a weight packed as oneDNN likes, as the linear layers run it.
class Matmul {
 public:
  Matmul(int rows, int in, int out, DType dtype) : flops_(2.0 * rows * in * out) {
    using dnnl::memory;
    const auto type = dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
    const memory::desc x({rows, in}, type, memory::format_tag::ab), y({rows, out}, type, memory::format_tag::ab);
    const dnnl::matmul::primitive_desc description(
        dnnl::matmul::desc(x, memory::desc({in, out}, type, memory::format_tag::any), y), engine_);
    matmul_ = dnnl::matmul(description);
    x_ = memory(x, engine_);
    weight_ = memory(description.weights_desc(), engine_);
    y_ = memory(y, engine_);
    for (const memory* m : {&x_, &weight_}) {  // small normal numbers in either type
      auto* bits = static_cast<std::uint16_t*>(m->get_data_handle());
      std::fill_n(bits, m->get_desc().get_size() / 2, std::uint16_t{0x3c00});
    }
  }

  double flops() const { return flops_; }
  void run() {
    matmul_.execute(stream_, {{DNNL_ARG_SRC, x_}, {DNNL_ARG_WEIGHTS, weight_}, {DNNL_ARG_DST, y_}});
    stream_.wait();
  }

 private:
  double flops_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::matmul matmul_;
  dnnl::memory x_, weight_, y_;
};

// A packed (B, N, 3, H, D) projection attending to itself.
class SelfAttention {
 public:
  SelfAttention(const Shape& shape, DType dtype)
      : shape_(shape),
        values_(testing::random_floats(3 * static_cast<std::size_t>(shape.batch) *
                                           static_cast<std::size_t>(shape.tokens * shape.heads * shape.dim),
                                       1)),
        qkv_(values_, dtype),
        out_(values_.size() / 3, dtype) {
    const std::int64_t channels = std::int64_t{shape.heads} * shape.dim, row = 3 * channels;
    const auto operand = [&](std::int64_t part) {
      return AttentionOperand{qkv_.as<std::byte>() + part * channels * static_cast<std::int64_t>(size_of(dtype)),
                              shape.tokens * row, row};
    };
    args_ = {operand(0),
             operand(1),
             operand(2),
             out_.data(),
             shape.tokens * channels,
             channels,
             shape.batch,
             shape.heads,
             shape.tokens,
             shape.tokens,
             shape.dim,
             shape.dim,
             1.0f / std::sqrt(static_cast<float>(shape.dim)),
             dtype,
             nullptr};
    scratch_ = AlignedBuffer(cpu::attention_scratch_bytes(args_, pool_));
    args_.scratch = scratch_.data();
  }

  double flops() const { return 4.0 * shape_.batch * shape_.heads * shape_.dim * shape_.tokens * shape_.tokens; }
  std::size_t scratch_bytes() const { return scratch_.size(); }
  void run(AttentionPath path) { cpu::attention(args_, pool_, path); }

  // Whether the first and last row of the last head agree with the reference.
  bool is_right() {
    const auto d = static_cast<std::size_t>(shape_.dim), h = static_cast<std::size_t>(shape_.heads),
               n = static_cast<std::size_t>(shape_.tokens);
    const auto values = qkv_.floats();
    const auto out = out_.floats();
    const std::size_t entry = static_cast<std::size_t>(shape_.batch - 1) * n;
    std::vector<float> q, k, v, found;
    for (std::size_t token = 0; token < n; ++token) {
      const auto row = [&](std::size_t part) {
        return values.begin() + static_cast<std::ptrdiff_t>((((entry + token) * 3 + part) * h + h - 1) * d);
      };
      const auto length = static_cast<std::ptrdiff_t>(d);
      k.insert(k.end(), row(1), row(1) + length);
      v.insert(v.end(), row(2), row(2) + length);
      if (token != 0 && token != n - 1) continue;
      q.insert(q.end(), row(0), row(0) + length);
      const auto o = out.begin() + static_cast<std::ptrdiff_t>(((entry + token) * h + h - 1) * d);
      found.insert(found.end(), o, o + length);
    }
    const int rows = static_cast<int>(q.size() / d);
    const auto expected =
        reference::attention(q, k, v, {1, 1, rows, shape_.tokens, shape_.dim, shape_.dim}, args_.scale);
    return testing::relative_error(found, expected) < (args_.dtype == DType::f32 ? 1e-5 : 1e-2);
  }

 private:
  Shape shape_;
  ThreadPool pool_{omp_get_max_threads()};
  std::vector<float> values_;
  testing::GuardedBuffer qkv_, out_;
  AlignedBuffer scratch_;
  AttentionArgs args_;
};

// One turn: seconds a call, over as many calls as take about two milliseconds, after one that brings threads and caches
// to this side. Without it a call of half a millisecond would be mostly the other side's leftovers.
template <typename Call>
double seconds_of_turn(Call&& call) {
  constexpr double kTurn = 2e-3;
  const double first = seconds(call);
  const int calls = std::max(1, static_cast<int>(kTurn / first));
  return seconds([&] {
           for (int i = 0; i < calls; ++i) call();
         }) /
         calls;
}

void run_case(benchmark::State& state, const Shape& shape, DType dtype, AttentionPath path) {
  SelfAttention attention(shape, dtype);
  try {
    attention.run(path);
  } catch (const Error& error) {
    state.SkipWithError(error.what());
    return;
  }
  if (!attention.is_right()) {
    state.SkipWithError("the result is wrong");
    return;
  }
  // qkv, fc1 and fc2 of a ViT-S block; the best of the three is the bar.
  Matmul matmuls[] = {{2048, 384, 1152, dtype}, {2048, 384, 1536, dtype}, {2048, 1536, 384, dtype}};
  for (Matmul& matmul : matmuls) matmul.run();
  std::vector<double> ours, theirs[3];
  for (auto unused : state) {
    const double elapsed = seconds_of_turn([&] { attention.run(path); });
    state.SetIterationTime(elapsed);
    ours.push_back(attention.flops() / elapsed * 1e-9);
    for (std::size_t i = 0; i < 3; ++i) {
      theirs[i].push_back(matmuls[i].flops() / seconds_of_turn([&] { matmuls[i].run(); }) * 1e-9);
    }
  }
  const double bar = std::max({median(theirs[0]), median(theirs[1]), median(theirs[2])});
  state.counters["GFLOP/s"] = median(ours);
  state.counters["oneDNN"] = bar;
  state.counters["share"] = median(ours) / bar;
}

// No run: a square of 65536 tokens takes minutes. Scratch does not depend on tokens, and this shows it.
void scratch_case(benchmark::State& state, DType dtype) {
  AttentionArgs args{};
  args.batch = 1;
  args.heads = 6;
  args.queries = args.keys = 65536;
  args.head_dim = args.value_dim = 64;
  args.dtype = dtype;
  const ThreadPool pool;
  std::size_t bytes = 0;
  for (auto unused : state) benchmark::DoNotOptimize(bytes = cpu::attention_scratch_bytes(args, pool));
  state.counters["KiB"] = static_cast<double>(bytes) / 1024;
  state.counters["threads"] = pool.threads();
}

const int registered = [] {
  const Shape shapes[] = {{1, 6, 580, 64},   {1, 6, 1940, 64}, {1, 6, 4100, 64},
                          {1, 6, 16384, 64}, {4, 3, 257, 64},  {1, 8, 300, 32}};
  struct Variant {
    const char* name;
    DType dtype;
    AttentionPath path;
  };
  const Variant variants[] = {{"f32", DType::f32, AttentionPath::automatic},
                              {"bf16", DType::bf16, AttentionPath::automatic},
                              {"bf16_dot", DType::bf16, AttentionPath::avx512_bf16},
                              {"bf16_simd", DType::bf16, AttentionPath::simd}};
  for (const Variant& variant : variants) {
    for (const Shape& shape : shapes) {
      const auto name =
          fmt::format("attention/{}/B{}_H{}_N{}_D{}", variant.name, shape.batch, shape.heads, shape.tokens, shape.dim);
      benchmark::RegisterBenchmark(name.c_str(), run_case, shape, variant.dtype, variant.path)
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  benchmark::RegisterBenchmark("attention/f32/scratch_N65536", scratch_case, DType::f32);
  benchmark::RegisterBenchmark("attention/bf16/scratch_N65536", scratch_case, DType::bf16);
  return 0;
}();

}  // namespace
}  // namespace vistazo
