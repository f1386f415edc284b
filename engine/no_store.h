#pragma once

#include "engine/weight_store.h"

namespace vistazo {

// Takes weights and keeps none: for reading a model only to see whether its checkpoint is what its config says. Such a
// model cannot run.
class NoStore final : public WeightStore {
 public:
  Linear linear(std::span<const float>, std::span<const float>, int in, int out) override { return {nullptr, in, out}; }
  Convolution convolution(std::span<const float>, std::span<const float>, const ConvolutionShape& shape) override {
    return {nullptr, shape};
  }
  Norm norm(std::span<const float> scale, std::span<const float>, float eps) override {
    return {nullptr, nullptr, static_cast<int>(scale.size()), eps};
  }
  Tensor table(std::span<const float>, const Shape& shape) override {
    return {nullptr, shape, DType::f32, shape.last()};
  }
  std::size_t bytes() const override { return 0; }
};

}  // namespace vistazo
