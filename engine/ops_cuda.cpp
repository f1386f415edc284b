#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "engine/backend.h"
#include "engine/cuda_device.h"
#include "engine/cuda_staging.h"
#include "engine/graph_cache.h"
#include "engine/log.h"
#include "engine/weights_cuda.h"
#include "kernels/base/device_buffer.h"
#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"

// The CUDA backend: every operation is a kernel on one stream, a pass that comes again is one launch of a graph.
namespace vistazo {
namespace {

// Bytes that the Ops of one backend hold.
class MemoryCount {
 public:
  void add(std::size_t bytes) {
    const std::size_t now = used_.fetch_add(bytes) + bytes;
    std::size_t peak = peak_.load();
    while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
    }
  }
  void remove(std::size_t bytes) { used_.fetch_sub(bytes); }
  std::size_t peak() const { return peak_.load(); }

 private:
  std::atomic<std::size_t> used_{0}, peak_{0};
};

// One stream with its memory, scratch for the arena.
class CudaOps final : public Ops {
 public:
  CudaOps(DType dtype, std::size_t scratch_bytes, const ThreadPool& pool, std::shared_ptr<MemoryCount> count)
      : CudaOps(dtype, scratch_bytes, DeviceBuffer(scratch_bytes), pool, std::move(count)) {}
  ~CudaOps() override {
    cudaStreamSynchronize(stream_.get());
    count_->remove(counted_);
  }

  PassResults run_pass(const PassKey& key, const std::function<PassResults()>& pass) override;
  double milliseconds_of(const std::function<void()>& work) override;
  bool can_select(int most) const override { return most <= kMostDetections; }

 private:
  struct Constant {
    std::string name;
    GridSize input;
    std::shared_ptr<const DeviceBuffer> values;
    Tensor tensor;
    std::uint64_t last_use;
  };
  static constexpr int kMostDetections = 1024;  // that cuda::select_detections is built for
  // A model makes a few constants per input size; beyond this many, those unused for longest make room.
  static constexpr std::size_t kMaxConstants = 64;

  CudaOps(DType dtype, std::size_t scratch_bytes, DeviceBuffer memory, const ThreadPool& pool,
          std::shared_ptr<MemoryCount> count)
      : Ops(dtype, dtype, Arena(memory.data(), scratch_bytes)),
        memory_(std::move(memory)),
        count_(std::move(count)),
        stream_(make_stream()),
        begin_(make_event()),
        end_(make_event()),
        staging_(stream_.get(), pool) {
    matmul_.stream = stream_.get();
    count_memory();
  }

  void count_memory() {
    const std::size_t bytes = memory_.size() + resize_scratch_.size() + staging_.device_bytes() + constant_bytes_;
    if (bytes > counted_) {
      count_->add(bytes - counted_);
    } else {
      count_->remove(counted_ - bytes);
    }
    counted_ = bytes;
  }

  void launch_graph(cudaGraphExec_t graph) { check_cuda(cudaGraphLaunch(graph, stream_.get()), "cudaGraphLaunch"); }

  const Tensor* find_constant(std::string_view name, GridSize input) const override;
  Tensor add_constant(std::string_view name, GridSize input, const Shape& shape,
                      std::span<const float> values) override;
  double milliseconds_alone(const std::function<void()>& work) override;

  bool reads_planes(const ConvolutionShape& shape) const override { return cuda::reads_planes(shape); }
  std::size_t scratch_bytes(const AttentionArgs&) const override { return 0; }
  std::size_t scratch_bytes(const TopKArgs& args) const override { return cuda::top_k_scratch_bytes(args); }
  std::size_t scratch_bytes_of_selection(const SelectDetectionsArgs& args) const override {
    return cuda::select_detections_scratch_bytes(args);
  }

  void copy_to_device(const float* from, float* to, std::size_t count) override {
    staging_.upload(std::as_bytes(std::span(from, count)), to);
  }
  void copy_to_host(const float* from, float* to, std::size_t count) override {
    staging_.download(from, std::as_writable_bytes(std::span(to, count)));
  }

  void select(const SelectDetectionsArgs& args) override {
    perform("select_detections", {args.batch, args.queries, args.classes},
            [&] { cuda::select_detections(args, stream_.get()); });
  }
  void place(const ImageResizeArgs& args, bool is_on_device) override;
  void run(const LinearArgs& args, const Linear& w) override {
    perform("linear", {args.rows, w.in, w.out},
            [&] { static_cast<const CudaLinear*>(w.weights)->packed.run(args, matmul_); });
  }
  void run(const ConvolutionArgs& args, const Convolution& w) override {
    perform("convolution", {std::int64_t{args.height} * args.width, w.shape.in_channels, w.shape.out_channels},
            [&] { static_cast<const CudaConvolution*>(w.weights)->packed.run(args, matmul_); });
  }
  void run(const LayerNormArgs& args) override {
    perform("layer_norm", {args.rows, args.cols}, [&] { cuda::layer_norm(args, stream_.get()); });
  }
  void run(const AttentionArgs& args) override {
    perform("attention", {std::int64_t{args.batch} * args.heads, args.queries, args.keys},
            [&] { cuda::attention(args, stream_.get(), cuda::AttentionPath::automatic, matmul_.plan); });
  }
  void run(const DeformableAttentionArgs& args) override {
    perform("deformable_attention", {args.batch, args.queries, args.heads},
            [&] { cuda::deformable_attention(args, stream_.get()); });
  }
  void run(const SineEmbeddingArgs& args) override {
    perform("sine_embedding", {args.rows, args.dim}, [&] { cuda::sine_embedding(args, stream_.get()); });
  }
  void run(const AddArgs& args) override {
    perform(args.b ? "add" : "copy", {args.rows, args.cols}, [&] { cuda::add(args, stream_.get()); });
  }
  void run(const ActivationArgs& args) override {
    perform("activation", {args.count}, [&] { cuda::activation(args, stream_.get()); });
  }
  void run(const PatchesArgs& args) override {
    perform("patches", {args.batch, args.grid.tokens(), args.patch}, [&] { cuda::patches(args, stream_.get()); });
  }
  void run(const WindowsToGridArgs& args) override {
    perform("windows_to_grid", {args.batch, args.grid.tokens(), args.cols},
            [&] { cuda::windows_to_grid(args, stream_.get()); });
  }
  void run(const DepthToSpaceArgs& args) override {
    perform("depth_to_space", {args.height, args.width, args.channels},
            [&] { cuda::depth_to_space(args, stream_.get()); });
  }
  void run(const PoolingArgs& args) override {
    perform("pooling", {args.height, args.width, args.channels}, [&] { cuda::pooling(args, stream_.get()); });
  }
  void run(const MapResizeArgs& args) override {
    perform("map_resize", {args.out_height, args.out_width, args.channels},
            [&] { cuda::map_resize(args, stream_.get()); });
  }
  void run(const RmsNormArgs& args) override {
    perform("rms_norm", {args.rows, args.cols}, [&] { cuda::rms_norm(args, stream_.get()); });
  }
  void run(const SwigluArgs& args) override {
    perform("swiglu", {args.rows, args.cols}, [&] { cuda::swiglu(args, stream_.get()); });
  }
  void run(const GatedSumArgs& args) override {
    perform("gated_sum", {args.rows, args.cols}, [&] { cuda::gated_sum(args, stream_.get()); });
  }
  void run(const AddMeanArgs& args) override {
    perform("add_mean", {args.batch, args.tokens, args.cols}, [&] { cuda::add_mean(args, stream_.get()); });
  }
  void run(const ClampArgs& args) override {
    perform("clamp", {args.count}, [&] { cuda::clamp(args, stream_.get()); });
  }
  void run(const MaskRowsArgs& args) override {
    perform("mask_rows", {args.batch, args.rows, args.cols}, [&] { cuda::mask_rows(args, stream_.get()); });
  }
  void run(const LogitBoxesArgs& args) override {
    perform("logit_boxes", {args.rows}, [&] { cuda::logit_boxes(args, stream_.get()); });
  }
  void run(const EdgeBoxesArgs& args) override {
    perform("edge_boxes", {args.edges.rows, args.edges.bins}, [&] { cuda::edge_boxes(args, stream_.get()); });
  }
  void run(const EdgePeaksArgs& args) override {
    perform("edge_peaks", {args.edges.rows, args.edges.bins}, [&] { cuda::edge_peaks(args, stream_.get()); });
  }
  void run(const GatherRowsArgs& args) override {
    perform("gather_rows", {args.batch, args.rows, args.cols}, [&] { cuda::gather_rows(args, stream_.get()); });
  }
  void run(const ProposalScoresArgs& args) override {
    perform("proposal_scores", {args.batch, args.rows, args.classes},
            [&] { cuda::proposal_scores(args, stream_.get()); });
  }
  void run(const TopKArgs& args) override {
    perform("top_k", {args.rows, args.cols, args.k}, [&] { cuda::top_k(args, stream_.get()); });
  }
  void run(const RefineBoxesArgs& args) override {
    perform("refine_boxes", {args.rows}, [&] { cuda::refine_boxes(args, stream_.get()); });
  }

  DeviceBuffer memory_;
  std::shared_ptr<MemoryCount> count_;
  std::size_t counted_ = 0;
  OwnedStream stream_;
  OwnedEvent begin_, end_;
  cuda::MatmulContext matmul_;
  CudaStaging staging_;
  DeviceBuffer resize_scratch_;  // grows to the largest image
  mutable std::deque<Constant> constants_;
  std::size_t constant_bytes_ = 0;
  mutable std::uint64_t uses_ = 0;
  mutable GraphCache::Constants* recorded_constants_ = nullptr;  // of the pass that is being recorded
  GraphCache graphs_;
};

// The first pass of a key runs as it is: it makes the constants and loads the kernels. The second is recorded.
Ops::PassResults CudaOps::run_pass(const PassKey& key, const std::function<PassResults()>& pass) {
  struct Planned {
    BatchPlan& plan;
    ~Planned() { plan = {}; }
  };
  const Planned planned{matmul_.plan};
  if (key.chosen_for > 0) matmul_.plan = {key.batch, key.chosen_for};
  const std::size_t arena_used = arena_.used();
  bool is_new = false;
  GraphCache::Pass& known = graphs_.find(key, arena_used, is_new);
  if (is_new) return pass();
  if (!known.graph) {
    struct Recording {
      CudaOps& ops;
      ~Recording() { ops.recorded_constants_ = nullptr; }
    };
    const Recording recording{*this};
    known.constants.clear();
    recorded_constants_ = &known.constants;
    known.graph = record_graph(stream_.get(), [&] { known.results = pass(); });
  }
  launch_graph(known.graph.get());
  return known.results;
}

double CudaOps::milliseconds_of(const std::function<void()>& work) {
  check_cuda(cudaEventRecord(begin_.get(), stream_.get()), "cudaEventRecord");
  work();
  check_cuda(cudaEventRecord(end_.get(), stream_.get()), "cudaEventRecord");
  check_cuda(cudaEventSynchronize(end_.get()), "cudaEventSynchronize");
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()), "cudaEventElapsedTime");
  return static_cast<double>(milliseconds);
}

// A kernel is shorter than its launch and than the grain of events: many in a graph are timed.
double CudaOps::milliseconds_alone(const std::function<void()>& work) {
  constexpr int kRuns = 20;
  work();
  const OwnedGraphExec graph = record_graph(stream_.get(), [&] {
    for (int i = 0; i < kRuns; ++i) work();
  });
  launch_graph(graph.get());
  return milliseconds_of([&] { launch_graph(graph.get()); }) / kRuns;
}

const Tensor* CudaOps::find_constant(std::string_view name, GridSize input) const {
  for (Constant& c : constants_) {
    if (c.name != name || c.input.height != input.height || c.input.width != input.width) continue;
    c.last_use = ++uses_;
    if (recorded_constants_) recorded_constants_->push_back(c.values);
    return &c.tensor;
  }
  return nullptr;
}

Tensor CudaOps::add_constant(std::string_view name, GridSize input, const Shape& shape, std::span<const float> values) {
  if (constants_.size() >= kMaxConstants) {
    const auto oldest = std::ranges::min_element(constants_, {}, &Constant::last_use);
    constant_bytes_ -= oldest->values->size();
    constants_.erase(oldest);
  }
  const auto memory = std::make_shared<const DeviceBuffer>(values.size_bytes());
  // On a stream of its own: the pass's stream may be recording.
  const OwnedStream stream = make_stream();
  check_cuda(cudaMemcpyAsync(memory->data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice, stream.get()),
             "cudaMemcpyAsync");
  check_cuda(cudaStreamSynchronize(stream.get()), "cudaStreamSynchronize");
  const Tensor tensor{memory->data(), shape, DType::f32, shape.last()};
  constants_.push_back({std::string(name), input, memory, tensor, ++uses_});
  if (recorded_constants_) recorded_constants_->push_back(memory);
  constant_bytes_ += memory->size();
  count_memory();
  return tensor;
}

// A pointer to other memory would end the process's use of the GPU.
void require_on_gpu(const void* pixels) {
  int gpu = 0;
  check_cuda(cudaGetDevice(&gpu), "cudaGetDevice");
  cudaPointerAttributes attributes{};
  check_cuda(cudaPointerGetAttributes(&attributes, pixels), "cudaPointerGetAttributes");
  const bool is_reachable = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  if (!is_reachable || attributes.device != gpu) {
    fail(Error::Code::argument, "an image's is_on_device is set, but its pixels do not lie in the memory of GPU {}",
         gpu);
  }
}

void CudaOps::place(const ImageResizeArgs& args, bool is_on_device) {
  ImageResizeArgs on_device = args;
  if (is_on_device) {
    require_on_gpu(args.pixels);
  } else {
    const std::size_t channels = args.order == PixelOrder::gray ? 1 : 3;
    const std::size_t columns = channels * static_cast<std::size_t>(args.width);
    on_device.pixels = staging_.upload_image(args.pixels, args.height, columns, args.row_bytes);
    on_device.row_bytes = static_cast<std::int64_t>(columns);
  }
  const std::size_t bytes = cuda::image_resize_scratch_bytes(on_device);
  if (bytes > resize_scratch_.size()) {
    resize_scratch_ = {};  // waits for the device
    resize_scratch_ = DeviceBuffer(bytes);
  }
  on_device.scratch = resize_scratch_.data();
  cuda::image_resize(on_device, stream_.get());
  count_memory();
}

DType dtype_of(Precision precision) {
  switch (precision) {
    case Precision::f32:
      return DType::f32;
    case Precision::f16:
      return DType::f16;
    case Precision::automatic:
    case Precision::bf16:
      break;
  }
  return DType::bf16;
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(Precision precision, int gpu, int threads)
      : precision_(precision == Precision::automatic ? Precision::bf16 : precision),
        gpu_(gpu),
        weights_(dtype_of(precision_)),
        pool_(copying_threads(threads)) {}

  WeightStore& weights() override { return weights_; }
  std::unique_ptr<Ops> make_ops(std::size_t scratch_bytes) override {
    // Weights were copied by calls that may return early, on a stream that ours does not wait for. Not the whole device
    // is waited for: that would break a recording in another thread.
    check_cuda(cudaStreamSynchronize(cudaStreamLegacy), "cudaStreamSynchronize");
    return std::make_unique<CudaOps>(dtype_of(precision_), scratch_bytes, pool_, count_);
  }
  Device device() const override { return Device::cuda; }
  Precision precision() const override { return precision_; }
  DeviceMemory memory() const override {
    DeviceMemory memory{.name = gpu_name(gpu_), .peak_bytes = weights_.bytes() + count_->peak()};
    std::size_t available = 0, total = 0;
    check_cuda(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
    memory.used_bytes = total - available;
    memory.total_bytes = total;
    return memory;
  }

 private:
  int enter() override { return exchange_gpu(gpu_); }
  void leave(int before) override { cudaSetDevice(before); }

  // A few fill page-locked memory faster than the bus empties it.
  static int copying_threads(int threads) {
    const int most = threads > 0 ? threads : static_cast<int>(std::thread::hardware_concurrency());
    return std::clamp(most, 1, 4);
  }

  Precision precision_;
  int gpu_;
  CudaWeights weights_;
  ThreadPool pool_;
  std::shared_ptr<MemoryCount> count_ = std::make_shared<MemoryCount>();
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(Precision precision, int gpu, int threads) {
  require_gpu(gpu);
  return std::make_unique<CudaBackend>(precision, gpu, threads);
}

}  // namespace vistazo
