#include "engine/weights_cuda.h"

#include <algorithm>

#include "kernels/base/aligned.h"

namespace vistazo {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;

const float* data_or_null(std::span<const float> values) {
  return values.empty() ? nullptr : values.data();
}

}  // namespace

Linear CudaWeights::linear(std::span<const float> weight, std::span<const float> bias, int in, int out) {
  auto& w = linears_.emplace_back(cuda::PackedLinear(weight.data(), data_or_null(bias), in, out, dtype_));
  bytes_ += w.packed.bytes();
  return {&w, in, out};
}

Convolution CudaWeights::convolution(std::span<const float> weight, std::span<const float> bias,
                                     const ConvolutionShape& shape) {
  auto& w = convolutions_.emplace_back(cuda::PackedConvolution(weight.data(), data_or_null(bias), shape, dtype_));
  bytes_ += w.packed.bytes();
  return {&w, shape};
}

Norm CudaWeights::norm(std::span<const float> scale, std::span<const float> bias, float eps) {
  return {keep(scale), keep(bias), static_cast<int>(scale.size()), eps};
}

Tensor CudaWeights::table(std::span<const float> values, const Shape& shape) {
  return {keep(values), shape, DType::f32, shape.last()};
}

float* CudaWeights::keep(std::span<const float> values) {
  if (values.empty()) return nullptr;  // as a norm without a bias has it
  const std::size_t bytes = align_up(values.size_bytes());
  if (blocks_.empty() || block_used_ + bytes > blocks_.back().size()) {
    bytes_ += blocks_.emplace_back(std::max(bytes, kBlockBytes)).size();
    block_used_ = 0;
  }
  auto* to = reinterpret_cast<float*>(blocks_.back().data() + block_used_);
  block_used_ += bytes;
  check_cuda(cudaMemcpy(to, values.data(), values.size_bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
  return to;
}

}  // namespace vistazo
