#pragma once

#include <deque>
#include <span>
#include <vector>

#include "engine/weight_store.h"
#include "kernels/base/device_buffer.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/linear.h"

namespace vistazo {

struct CudaLinear final : LinearWeights {
  explicit CudaLinear(cuda::PackedLinear w) : packed(std::move(w)) {}
  cuda::PackedLinear packed;
};

struct CudaConvolution final : ConvolutionWeights {
  explicit CudaConvolution(cuda::PackedConvolution w) : packed(std::move(w)) {}
  cuda::PackedConvolution packed;
};

// Weights in the memory of the GPU that is the thread's while they are made. Matrices of the dtype, the rest f32.
class CudaWeights final : public WeightStore {
 public:
  explicit CudaWeights(DType dtype) : dtype_(dtype) {}

  Linear linear(std::span<const float> weight, std::span<const float> bias, int in, int out) override;
  Convolution convolution(std::span<const float> weight, std::span<const float> bias,
                          const ConvolutionShape& shape) override;
  Norm norm(std::span<const float> scale, std::span<const float> bias, float eps) override;
  Tensor table(std::span<const float> values, const Shape& shape) override;
  std::size_t bytes() const override { return bytes_; }

 private:
  float* keep(std::span<const float> values);

  DType dtype_;
  std::deque<CudaLinear> linears_;  // a deque: handles point at its elements
  std::deque<CudaConvolution> convolutions_;
  // Norms and tables are small and many: they share allocations, whose grain would cost more than they do.
  std::vector<DeviceBuffer> blocks_;
  std::size_t block_used_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace vistazo
