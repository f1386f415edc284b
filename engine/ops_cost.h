#pragma once

#include <vistazo/detector.h>

#include <memory>

#include "engine/ops.h"

namespace vistazo {

// A backend that runs nothing: a forward pass through it counts the work and finds the peak of the arena, and meets
// every shape check. Its tensors' data must not be followed.
class CostOps final : public Ops {
 public:
  // Counts for `target`: its dtype and its kernels' scratch.
  explicit CostOps(const Ops& target);

  // Of all passes since construction; weight_bytes stays 0.
  Cost cost() const;
  // Of every operation, in order, without memory.
  std::span<const Cost> steps() const { return steps_; }

  bool can_select(int most) const override { return target_.can_select(most); }
  double milliseconds_of(const std::function<void()>& work) override {
    work();
    return 0;
  }

 private:
  const Tensor* find_constant(std::string_view name, GridSize input) const override;
  Tensor add_constant(std::string_view name, GridSize input, const Shape& shape,
                      std::span<const float> values) override;
  bool reads_planes(const ConvolutionShape& shape) const override;
  std::size_t scratch_bytes(const AttentionArgs& args) const override;
  std::size_t scratch_bytes(const TopKArgs& args) const override;
  std::size_t scratch_bytes_of_selection(const SelectDetectionsArgs& args) const override {
    return target_.scratch_bytes_of_selection(args);
  }

  void copy_to_device(const float*, float*, std::size_t) override {}
  void copy_to_host(const float*, float*, std::size_t) override {}
  void place(const ImageResizeArgs&, bool) override {}
  void run(const LinearArgs& args, const Linear& w) override;
  void run(const ConvolutionArgs& args, const Convolution& w) override;
  void run(const LayerNormArgs& args) override;
  void run(const AttentionArgs& args) override;
  void run(const DeformableAttentionArgs& args) override;
  void run(const SineEmbeddingArgs& args) override;
  void run(const AddArgs& args) override;
  void run(const PatchesArgs& args) override;
  void run(const WindowsToGridArgs& args) override;
  void run(const DepthToSpaceArgs& args) override;
  void run(const PoolingArgs& args) override;
  void run(const MapResizeArgs& args) override;
  void run(const GatherRowsArgs& args) override;
  void run(const ProposalScoresArgs& args) override;
  void run(const TopKArgs& args) override;
  void run(const RefineBoxesArgs& args) override;
  void run(const RmsNormArgs& args) override;
  void run(const SwigluArgs& args) override;
  void run(const GatedSumArgs& args) override;
  void run(const AddMeanArgs& args) override;
  void run(const ActivationArgs& args) override;
  void run(const ClampArgs& args) override;
  void run(const MaskRowsArgs& args) override;
  void run(const LogitBoxesArgs& args) override;
  void run(const EdgeBoxesArgs& args) override;
  void run(const EdgePeaksArgs& args) override;

  void count(double flops, double bytes) {
    cost_.flops += flops;
    cost_.bytes += bytes;
    steps_.push_back({.flops = flops, .bytes = bytes});
  }

  const Ops& target_;
  Cost cost_;
  std::vector<Cost> steps_;
};

}  // namespace vistazo
