#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/base/dtype.h"
#include "kernels/cuda/matmul_context.h"

// What linear and convolution share: a product whose left operand is gathered from pixels. A linear layer is a
// convolution of 1 x 1 over an image of one row per pixel.
namespace vistazo::cuda {

// y[m][n] = post_scale * activation(sum over k of a[m][k] * weight[n][k] + bias[n] [+ y[m][n]]) + post_bias, for each
// group g, whose columns are n in [g * columns, (g + 1) * columns). m is an output pixel of an image of the batch; k is
// (kernel row, kernel column, channel of the group), the channel fastest. Zero outside of the image.
struct Gemm {
  const void* x;
  const void* weight;  // (groups * columns, weight_stride); zero behind the first `depth` of a row
  const float* bias;   // (groups * columns) or null
  void* y;
  DType dtype, y_dtype;
  int rows, columns, depth;  // of one group: output pixels, output channels, products in a sum
  int groups;
  std::int64_t x_stride, y_stride;  // elements from one pixel to the next
  int weight_stride;                // a multiple of kWeightAlignment

  int batch, height, width, channels;  // of x; channels of one group
  int out_height, out_width;
  int kernel_height, kernel_width, stride, padding;

  Activation activation;
  bool accumulate;
  float post_scale, post_bias;

  bool is_x_planar = false;  // x is planes of f32, for direct_convolution.h alone

  // Whether row m of the left operand is pixel m of x.
  bool is_pointwise() const { return kernel_height == 1 && kernel_width == 1 && stride == 1 && padding == 0; }
};

// The product that its kernel is chosen for. Everything else of it is the product's own.
inline Gemm as_planned(Gemm gemm, const BatchPlan& plan) {
  gemm.rows = plan.scaled(gemm.rows);
  return gemm;
}

inline constexpr int kWeightAlignment = 8;  // elements: 16 bytes of 16-bit types

// Chooses the kernel and starts it. `name` is the operation's, for errors.
void gemm(const char* name, const Gemm& gemm, const MatmulContext& context);

// The kernels, one per instruction set.
void gemm_simt(const char* name, const Gemm& gemm, CudaStream stream);
void gemm_sm80(const char* name, const Gemm& gemm, CudaStream stream);
// In the context's tile shape, modulo their number, or in the one that suits the problem's size.
void gemm_sm90(const char* name, const Gemm& gemm, const MatmulContext& context);
bool can_run_sm90(const Gemm& gemm);  // on a device of compute capability 9.0
bool is_sm90();                       // whether this device is one: code for 9.0a runs on no other

// Whether eight neighbouring channels of a pixel are 16 bytes at a multiple of 16, in every group.
inline bool is_gather_aligned(const Gemm& gemm) {
  return gemm.channels % 8 == 0 && gemm.x_stride % 8 == 0 && reinterpret_cast<std::uintptr_t>(gemm.x) % 16 == 0;
}

// Whether all groups of so many columns of y are whole and aligned.
inline bool are_groups_stored(const Gemm& gemm, int columns) {
  const auto bytes = static_cast<std::uintptr_t>(columns) * size_of(gemm.y_dtype);
  return gemm.columns % columns == 0 && gemm.y_stride % columns == 0 &&
         reinterpret_cast<std::uintptr_t>(gemm.y) % bytes == 0;
}

}  // namespace vistazo::cuda
