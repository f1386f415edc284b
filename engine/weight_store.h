#pragma once

#include <cstdint>
#include <span>

#include "engine/tensor.h"
#include "kernels/convolution.h"

namespace vistazo {

// Weights as a model holds them: sizes that the shape checks need, and a handle that only the backend looks into.
struct LinearWeights {
  virtual ~LinearWeights() = default;
};
struct ConvolutionWeights {
  virtual ~ConvolutionWeights() = default;
};

struct Linear {  // y = x W^T + b
  const LinearWeights* weights = nullptr;
  int in = 0, out = 0;
};

struct Convolution {  // NHWC
  const ConvolutionWeights* weights = nullptr;
  ConvolutionShape shape;
};

struct Norm {  // layer norm, or an RMS norm: without a bias
  const float *scale = nullptr, *bias = nullptr;
  int size = 0;
  float eps = 0;
};

// Takes a model's weights to the device, in the layout its kernels want. Owns them; shared by all threads.
class WeightStore {
 public:
  virtual ~WeightStore() = default;

  // weight (out, in), bias (out) or empty.
  virtual Linear linear(std::span<const float> weight, std::span<const float> bias, int in, int out) = 0;
  // weight (out, in / groups, kernel_height, kernel_width), bias (out) or empty.
  virtual Convolution convolution(std::span<const float> weight, std::span<const float> bias,
                                  const ConvolutionShape& shape) = 0;
  // bias empty: an RMS norm.
  virtual Norm norm(std::span<const float> scale, std::span<const float> bias, float eps) = 0;
  // A plain f32 tensor.
  virtual Tensor table(std::span<const float> values, const Shape& shape) = 0;

  virtual std::size_t bytes() const = 0;
};

}  // namespace vistazo
