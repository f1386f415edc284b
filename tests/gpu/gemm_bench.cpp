// Times linear layers on the GPU beside cuBLASLt's (bias fused, the first algorithm of its heuristic): graphs of many
// launches that rotate among several sets of random inputs, replayed in turns; medians, in microseconds of one call.
// Rows of a Markdown table. With the argument `tiles`, every tile shape of sm90 too, and for each of its times a line
// of what fit_gemm_costs.py fits the costs of the tile shapes to:
//   fit TILE STEPS WAVES none|sum|narrow_sum|gelu MICROSECONDS WHAT
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <ranges>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/check_cuda.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/gemm/tiles.h"
#include "kernels/cuda/linear.h"

namespace vistazo {
namespace {

using cuda::DeviceMemory;
using cuda::MatmulContext;

struct Shape {
  int rows, in, out;
  Activation activation = Activation::none;
  bool accumulate = false;
  DType y_dtype = DType::bf16;
};

void check_cublas(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) fail(Error::Code::device, "{}: {}", call, static_cast<int>(status));
}

std::vector<float> random_values(std::size_t count, float deviation) {
  static std::mt19937 generator(1);
  // A short run of random values, repeated from other places: a normal distribution of millions takes seconds.
  static const std::vector<float> pool = [] {
    std::normal_distribution<float> normal;
    std::vector<float> values((1 << 16) - 7);
    for (float& x : values) x = normal(generator);
    return values;
  }();
  std::vector<float> values(count);
  std::size_t at = generator() % pool.size();
  for (float& x : values) x = deviation * pool[at++ % pool.size()];
  return values;
}

// The peer: bf16 in, bias in its epilogue.
class CublasLinear {
 public:
  CublasLinear(const Shape& s, const DeviceMemory& bias) : workspace_(kWorkspace), beta_(s.accumulate ? 1.0f : 0.0f) {
    check_cublas(cublasLtCreate(&handle_), "cublasLtCreate");
    check_cublas(cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.data());
    const cudaDataType_t y_type = s.y_dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
    const auto layout = [](cudaDataType_t type, int rows, int columns) {
      cublasLtMatrixLayout_t result;
      check_cublas(cublasLtMatrixLayoutCreate(&result, type, std::uint64_t(rows), std::uint64_t(columns), rows),
                   "cublasLtMatrixLayoutCreate");
      return result;
    };
    w_ = layout(CUDA_R_16BF, s.in, s.out);
    x_ = layout(CUDA_R_16BF, s.in, s.rows);
    y_ = layout(y_type, s.out, s.rows);
    cublasLtMatmulPreference_t preference;
    check_cublas(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const std::size_t most = kWorkspace;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof(most));
    int found = 0;
    check_cublas(
        cublasLtMatmulAlgoGetHeuristic(handle_, operation_, w_, x_, y_, y_, preference, 1, &algorithm_, &found),
        "cublasLtMatmulAlgoGetHeuristic");
    if (found == 0) fail(Error::Code::device, "cuBLASLt has no algorithm");
    cublasLtMatmulPreferenceDestroy(preference);
  }
  ~CublasLinear() {
    for (const auto layout : {w_, x_, y_}) cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulDescDestroy(operation_);
    cublasLtDestroy(handle_);
  }
  CublasLinear(const CublasLinear&) = delete;
  CublasLinear& operator=(const CublasLinear&) = delete;

  void run(const void* weight, const void* x, void* y, CudaStream stream) const {
    const float one = 1;
    check_cublas(cublasLtMatmul(handle_, operation_, &one, weight, w_, x, x_, &beta_, y, y_, y, y_, &algorithm_.algo,
                                workspace_.data(), workspace_.bytes(), stream),
                 "cublasLtMatmul");
  }

 private:
  static constexpr std::size_t kWorkspace = 32 << 20;

  template <typename Value>
  void set(cublasLtMatmulDescAttributes_t attribute, Value value) {
    check_cublas(cublasLtMatmulDescSetAttribute(operation_, attribute, &value, sizeof(value)),
                 "cublasLtMatmulDescSetAttribute");
  }

  DeviceMemory workspace_;
  float beta_;
  cublasLtHandle_t handle_{};
  cublasLtMatmulDesc_t operation_{};
  cublasLtMatrixLayout_t w_{}, x_{}, y_{};
  cublasLtMatmulHeuristicResult_t algorithm_{};
};

// A graph of launches, and the times of its replays.
class Replay {
 public:
  Replay(CudaStream stream, int launches, const std::function<void(int)>& launch)
      : stream_(stream), launches_(launches) {
    launch(0);  // loads the module
    cudaGraph_t graph;
    check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
    for (int i = 0; i < launches; ++i) launch(i);
    check_cuda(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    check_cuda(cudaGraphInstantiate(&graph_, graph, 0), "cudaGraphInstantiate");
    cudaGraphDestroy(graph);
    check_cuda(cudaEventCreate(&begin_), "cudaEventCreate");
    check_cuda(cudaEventCreate(&end_), "cudaEventCreate");
    run();
    times_.clear();
  }
  ~Replay() {
    cudaGraphExecDestroy(graph_);
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  void run() {
    float milliseconds = 0;
    check_cuda(cudaEventRecord(begin_, stream_), "cudaEventRecord");
    check_cuda(cudaGraphLaunch(graph_, stream_), "cudaGraphLaunch");
    check_cuda(cudaEventRecord(end_, stream_), "cudaEventRecord");
    check_cuda(cudaEventSynchronize(end_), "cudaEventSynchronize");
    check_cuda(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    times_.push_back(milliseconds * 1e3f / static_cast<float>(launches_));
  }
  float median() {
    std::sort(times_.begin(), times_.end());
    return times_[times_.size() / 2];
  }

 private:
  CudaStream stream_;
  int launches_;
  cudaGraphExec_t graph_{};
  cudaEvent_t begin_{}, end_{};
  std::vector<float> times_;
};

std::string name_of(const Shape& s) {
  return fmt::format("{} x {} -> {}{}{}", s.rows, s.in, s.out, s.accumulate ? " +=" : "",
                     s.y_dtype == DType::f32            ? " f32"
                     : s.activation == Activation::gelu ? " gelu"
                                                        : "");
}

void bench(const Shape& s, bool has_tiles) {
  constexpr int kRepeats = 7;
  const auto rows = static_cast<std::size_t>(s.rows), in = static_cast<std::size_t>(s.in),
             out = static_cast<std::size_t>(s.out);
  // Sets that do not fit into the second-level cache together would time the memory, which a model's do not meet.
  const int sets = rows * (in + out) > 5'000'000 ? 1 : 4;
  // Weights that do: a pass over few rows has read all others before it comes to one again.
  constexpr std::size_t kManyBytes = 96 << 20;
  const int launches = rows * in * out > 100'000'000'000 ? 4 : rows < 2000 ? 120 : 40;
  const int weights = std::clamp(static_cast<int>(kManyBytes / (2 * in * out)), 1, launches);
  const auto weight = random_values(in * out, 0.05f), bias = random_values(out, 1.0f);
  std::vector<cuda::PackedLinear> linears;
  std::vector<DeviceMemory> peer_weights;
  for (int i = 0; i < weights; ++i) {
    linears.emplace_back(weight.data(), bias.data(), s.in, s.out, DType::bf16);
    peer_weights.push_back(cuda::upload(weight, DType::bf16));
  }
  const DeviceMemory peer_bias = cuda::upload(bias, s.y_dtype);
  const CublasLinear peer(s, peer_bias);
  std::vector<DeviceMemory> x, y;
  for (int i = 0; i < sets; ++i) {
    x.push_back(cuda::upload(random_values(rows * in, 1.0f), DType::bf16));
    y.emplace_back(rows * out * size_of(s.y_dtype));
    check_cuda(cudaMemset(y.back().data(), 0, y.back().bytes()), "cudaMemset");
  }
  cudaStream_t stream;
  check_cuda(cudaStreamCreate(&stream), "cudaStreamCreate");
  std::vector<std::unique_ptr<Replay>> replays;
  replays.push_back(std::make_unique<Replay>(stream, launches, [&](int i) {
    const auto set = static_cast<std::size_t>(i % sets);
    peer.run(peer_weights[static_cast<std::size_t>(i % weights)].data(), x[set].data(), y[set].data(), stream);
  }));
  const auto add = [&](cuda::GemmPath path, int tile) {
    const MatmulContext context{.stream = stream, .path = path, .tile = tile};
    replays.push_back(std::make_unique<Replay>(stream, launches, [&, context](int i) {
      const auto set = static_cast<std::size_t>(i % sets);
      linears[static_cast<std::size_t>(i % weights)].run(
          {x[set].data(), y[set].data(), s.rows, s.in, s.out, s.y_dtype, s.activation, s.accumulate}, context);
    }));
  };
  add(cuda::GemmPath::automatic, -1);
  const cuda::ProductSize size{s.rows, s.out, 1, s.in, 1};
  std::vector<int> tiles;
  if (has_tiles) {
    add(cuda::GemmPath::sm80, -1);
    for (int tile = 0; tile < cuda::kSm90Tiles; ++tile) {
      if (cuda::fits(cuda::sm90_tiles()[static_cast<std::size_t>(tile)], size)) tiles.push_back(tile);
    }
    for (const int tile : tiles) add(cuda::GemmPath::sm90, tile);
  }
  for (int i = 0; i < kRepeats; ++i) {
    for (auto& replay : replays) replay->run();
  }
  const float peer_time = replays[0]->median(), time = replays[1]->median();
  const char* const behind_sums = s.accumulate                       ? s.y_dtype == DType::f32 ? "sum" : "narrow_sum"
                                  : s.activation == Activation::gelu ? "gelu"
                                                                     : "none";
  fmt::print("| {} | {:.1f} | {:.1f} | {:.2f} | {:.0f} |", name_of(s), peer_time, time, peer_time / time,
             2e-6 * s.rows * s.in * s.out / static_cast<double>(time));
  if (has_tiles) {
    fmt::print(" {:.1f} |", replays[2]->median());
    std::vector<std::string> times(cuda::kSm90Tiles, "-"), lines;
    for (std::size_t i = 0; i < tiles.size(); ++i) {
      const auto tile = static_cast<std::size_t>(tiles[i]);
      const cuda::TileWork work = cuda::work_of(cuda::sm90_tiles()[tile], size);
      const float tile_time = replays[3 + i]->median();
      times[tile] = fmt::format("{:.1f}", tile_time);
      lines.push_back(fmt::format("\nfit {} {:.2f} {:.4f} {} {:.2f} {}", tile, work.steps, work.waves, behind_sums,
                                  tile_time, name_of(s)));
    }
    fmt::print(" {} |{}", fmt::join(times, " | "), fmt::join(lines, ""));
  }
  fmt::print("\n");
  replays.clear();
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace vistazo

int main(int count, char** arguments) try {
  using vistazo::Activation;
  const bool has_tiles = count > 1 && std::string_view(arguments[1]) == "tiles";
  std::vector<vistazo::Shape> shapes;
  for (const int rows : {580, 1300, 1940, 9280, 31040}) {
    shapes.push_back({rows, 384, 1152});
    shapes.push_back({rows, 384, 384, Activation::none, true});
    shapes.push_back({rows, 384, 1536, Activation::gelu});
    shapes.push_back({rows, 1536, 384, Activation::none, true});
  }
  constexpr auto kF32 = vistazo::DType::f32;
  for (const int rows : {300, 4800}) {
    shapes.push_back({rows, 256, 256});
    shapes.push_back({rows, 256, 256, Activation::none, true, kF32});
    shapes.push_back({rows, 2048, 256, Activation::none, true, kF32});
    shapes.push_back({rows, 256, 2048, Activation::relu});
    shapes.push_back({rows, 2048, 256});
  }
  shapes.push_back({580, 768, 384, Activation::none, true});
  shapes.push_back({31040, 768, 384, Activation::none, true});
  for (const int rows : {1940, 31040}) {
    shapes.push_back({rows, 384, 384, Activation::none, true, kF32});
    shapes.push_back({rows, 1536, 384, Activation::none, true, kF32});
  }
  shapes.push_back({134400, 256, 768});
  shapes.push_back({8192, 8192, 8192});
  fmt::print("| rows x in -> out | cuBLASLt, us | ours, us | ratio | TFLOP/s |");
  if (has_tiles) fmt::print(" sm80 | {:2} |", fmt::join(std::views::iota(0, vistazo::cuda::kSm90Tiles), " | "));
  fmt::print("\n|---|---|---|---|---|");
  for (int i = has_tiles ? -1 : vistazo::cuda::kSm90Tiles; i < vistazo::cuda::kSm90Tiles; ++i) fmt::print("---|");
  fmt::print("\n");
  for (const auto& shape : shapes) vistazo::bench(shape, has_tiles);
  return 0;
} catch (const std::exception& error) {
  fmt::print("{}\n", error.what());
  return 1;
}
