#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <string>

#include "engine/backend.h"
#include "kernels/base/error.h"
#include "kernels/cpu/convolution.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/thread_pool.h"

// The CPU backend: oneDNN's matrix products and convolutions, our own SIMD kernels for everything else.
namespace vistazo {
namespace {

struct CpuLinear final : LinearWeights {
  explicit CpuLinear(cpu::PackedLinear w) : packed(std::move(w)) {}
  cpu::PackedLinear packed;
};

struct CpuConvolution final : ConvolutionWeights {
  explicit CpuConvolution(cpu::PackedConvolution w) : packed(std::move(w)) {}
  cpu::PackedConvolution packed;
};

class CpuWeights final : public WeightStore {
 public:
  explicit CpuWeights(DType dtype) : dtype_(dtype) {}

  Linear linear(std::span<const float> weight, std::span<const float> bias, int in, int out) override {
    auto& w = linears_.emplace_back(cpu::PackedLinear(weight.data(), data_or_null(bias), in, out, dtype_));
    bytes_ += w.packed.bytes();
    return {&w, in, out};
  }

  Convolution convolution(std::span<const float> weight, std::span<const float> bias,
                          const ConvolutionShape& shape) override {
    auto& w = convolutions_.emplace_back(cpu::PackedConvolution(weight.data(), data_or_null(bias), shape, dtype_));
    bytes_ += w.packed.bytes();
    return {&w, shape};
  }

  Norm norm(std::span<const float> scale, std::span<const float> bias, float eps) override {
    return {keep(scale), bias.empty() ? nullptr : keep(bias), static_cast<int>(scale.size()), eps};
  }

  Tensor table(std::span<const float> values, const Shape& shape) override {
    return {keep(values), shape, DType::f32, shape.last()};
  }

  std::size_t bytes() const override { return bytes_; }

 private:
  static const float* data_or_null(std::span<const float> values) { return values.empty() ? nullptr : values.data(); }

  float* keep(std::span<const float> values) {
    auto& buffer = buffers_.emplace_back(values.size_bytes());
    std::ranges::copy(values, buffer.as<float>());
    bytes_ += buffer.size();
    return buffer.as<float>();
  }

  DType dtype_;
  std::deque<CpuLinear> linears_;  // a deque: handles point at its elements
  std::deque<CpuConvolution> convolutions_;
  std::deque<AlignedBuffer> buffers_;
  std::size_t bytes_ = 0;
};

class CpuOps final : public Ops {
 public:
  CpuOps(DType dtype, AlignedBuffer scratch, ThreadPool pool)
      : Ops(dtype, DType::f32, Arena(scratch.data(), scratch.size())), scratch_(std::move(scratch)), pool_(pool) {}

  double milliseconds_of(const std::function<void()>& work) override {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  struct Constant {
    std::string name;
    GridSize input;
    AlignedBuffer values;
    Tensor tensor;
    std::uint64_t last_use;
  };
  // A model makes a few constants per input size; beyond this many, those unused for longest make room.
  static constexpr std::size_t kMaxConstants = 64;

  const Tensor* find_constant(std::string_view name, GridSize input) const override {
    for (Constant& c : constants_) {
      if (c.name == name && c.input.height == input.height && c.input.width == input.width) {
        c.last_use = ++uses_;
        return &c.tensor;
      }
    }
    return nullptr;
  }

  Tensor add_constant(std::string_view name, GridSize input, const Shape& shape,
                      std::span<const float> values) override {
    if (constants_.size() >= kMaxConstants)
      constants_.erase(std::ranges::min_element(constants_, {}, &Constant::last_use));
    Constant c{std::string(name), input, AlignedBuffer(values.size_bytes()), {}, ++uses_};
    std::ranges::copy(values, c.values.as<float>());
    c.tensor = {c.values.data(), shape, DType::f32, shape.last()};
    return constants_.emplace_back(std::move(c)).tensor;
  }

  std::size_t scratch_bytes(const AttentionArgs& args) const override {
    return cpu::attention_scratch_bytes(args, pool_);
  }
  std::size_t scratch_bytes(const TopKArgs& args) const override { return cpu::top_k_scratch_bytes(args); }

  void copy_to_device(const float* from, float* to, std::size_t count) override {
    std::memcpy(to, from, count * sizeof(float));
  }
  void copy_to_host(const float* from, float* to, std::size_t count) override {
    std::memcpy(to, from, count * sizeof(float));
  }

  void place(const ImageResizeArgs& args, bool) override {
    const std::size_t bytes = cpu::image_resize_scratch_bytes(args);
    if (bytes > resize_scratch_.size()) resize_scratch_ = AlignedBuffer(bytes);
    ImageResizeArgs with_scratch = args;
    with_scratch.scratch = resize_scratch_.data();
    cpu::image_resize(with_scratch, pool_);
  }
  void run(const LinearArgs& args, const Linear& w) override {
    perform("linear", {args.rows, w.in, w.out},
            [&] { static_cast<const CpuLinear*>(w.weights)->packed.run(args, pool_); });
  }
  void run(const ConvolutionArgs& args, const Convolution& w) override {
    perform("convolution", {std::int64_t{args.height} * args.width, w.shape.in_channels, w.shape.out_channels},
            [&] { static_cast<const CpuConvolution*>(w.weights)->packed.run(args, pool_); });
  }
  void run(const LayerNormArgs& args) override {
    perform("layer_norm", {args.rows, args.cols}, [&] { cpu::layer_norm(args, pool_); });
  }
  void run(const AttentionArgs& args) override {
    perform("attention", {std::int64_t{args.batch} * args.heads, args.queries, args.keys},
            [&] { cpu::attention(args, pool_); });
  }
  void run(const DeformableAttentionArgs& args) override {
    perform("deformable_attention", {args.batch, args.queries, args.heads},
            [&] { cpu::deformable_attention(args, pool_); });
  }
  void run(const SineEmbeddingArgs& args) override {
    perform("sine_embedding", {args.rows, args.dim}, [&] { cpu::sine_embedding(args, pool_); });
  }
  void run(const AddArgs& args) override {
    perform(args.b ? "add" : "copy", {args.rows, args.cols}, [&] { cpu::add(args, pool_); });
  }
  void run(const PatchesArgs& args) override {
    perform("patches", {args.batch, args.grid.tokens(), args.patch}, [&] { cpu::patches(args, pool_); });
  }
  void run(const WindowsToGridArgs& args) override {
    perform("windows_to_grid", {args.batch, args.grid.tokens(), args.cols}, [&] { cpu::windows_to_grid(args, pool_); });
  }
  void run(const DepthToSpaceArgs& args) override {
    perform("depth_to_space", {args.height, args.width, args.channels}, [&] { cpu::depth_to_space(args, pool_); });
  }
  void run(const GatherRowsArgs& args) override {
    perform("gather_rows", {args.batch, args.rows, args.cols}, [&] { cpu::gather_rows(args, pool_); });
  }
  void run(const ProposalScoresArgs& args) override {
    perform("proposal_scores", {args.batch, args.rows, args.classes}, [&] { cpu::proposal_scores(args, pool_); });
  }
  void run(const TopKArgs& args) override {
    perform("top_k", {args.rows, args.cols, args.k}, [&] { cpu::top_k(args, pool_); });
  }
  void run(const RefineBoxesArgs& args) override {
    perform("refine_boxes", {args.rows}, [&] { cpu::refine_boxes(args, pool_); });
  }
  void run(const PoolingArgs& args) override {
    perform("pooling", {args.height, args.width, args.channels}, [&] { cpu::pooling(args, pool_); });
  }
  void run(const MapResizeArgs& args) override {
    perform("map_resize", {args.out_height, args.out_width, args.channels}, [&] { cpu::map_resize(args, pool_); });
  }
  void run(const RmsNormArgs& args) override {
    perform("rms_norm", {args.rows, args.cols}, [&] { cpu::rms_norm(args, pool_); });
  }
  void run(const SwigluArgs& args) override {
    perform("swiglu", {args.rows, args.cols}, [&] { cpu::swiglu(args, pool_); });
  }
  void run(const GatedSumArgs& args) override {
    perform("gated_sum", {args.rows, args.cols}, [&] { cpu::gated_sum(args, pool_); });
  }
  void run(const AddMeanArgs& args) override {
    perform("add_mean", {args.batch, args.tokens, args.cols}, [&] { cpu::add_mean(args, pool_); });
  }
  void run(const ActivationArgs& args) override {
    perform("activation", {args.count}, [&] { cpu::activation(args, pool_); });
  }
  void run(const ClampArgs& args) override {
    perform("clamp", {args.count}, [&] { cpu::clamp(args, pool_); });
  }
  void run(const MaskRowsArgs& args) override {
    perform("mask_rows", {args.batch, args.rows, args.cols}, [&] { cpu::mask_rows(args, pool_); });
  }
  void run(const LogitBoxesArgs& args) override {
    perform("logit_boxes", {args.rows}, [&] { cpu::logit_boxes(args, pool_); });
  }
  void run(const EdgeBoxesArgs& args) override {
    perform("edge_boxes", {args.edges.rows, args.edges.bins}, [&] { cpu::edge_boxes(args, pool_); });
  }
  void run(const EdgePeaksArgs& args) override {
    perform("edge_peaks", {args.edges.rows, args.edges.bins}, [&] { cpu::edge_peaks(args, pool_); });
  }

  AlignedBuffer scratch_;
  AlignedBuffer resize_scratch_;  // grows to the largest image
  ThreadPool pool_;
  mutable std::deque<Constant> constants_;
  mutable std::uint64_t uses_ = 0;
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(Precision precision, int threads) : precision_(precision), weights_(dtype()), pool_(threads) {}

  WeightStore& weights() override { return weights_; }
  std::unique_ptr<Ops> make_ops(std::size_t scratch_bytes) override {
    return std::make_unique<CpuOps>(dtype(), AlignedBuffer(scratch_bytes), pool_);
  }
  Device device() const override { return Device::cpu; }
  Precision precision() const override { return precision_; }
  DeviceMemory memory() const override { return {}; }

 private:
  DType dtype() const { return precision_ == Precision::bf16 ? DType::bf16 : DType::f32; }

  Precision precision_;
  CpuWeights weights_;
  ThreadPool pool_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(Precision precision, int threads) {
  if (threads < 0) fail(Error::Code::argument, "cpu_threads is {}; 0 (all cores) or more is wanted", threads);
  switch (precision) {
    case Precision::automatic:
      precision = cpu::is_bf16_fast() ? Precision::bf16 : Precision::f32;
      break;
    case Precision::f16:
      fail(Error::Code::unsupported, "the CPU runs in f32 or bf16, not in f16");
    case Precision::f32:
    case Precision::bf16:
      break;
  }
  return std::make_unique<CpuBackend>(precision, threads);
}

}  // namespace vistazo
