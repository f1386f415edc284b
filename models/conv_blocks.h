#pragma once

#include <string_view>
#include <vector>

#include "engine/ops.h"
#include "engine/weight_cursor.h"

// Convolutional blocks that families share. Feature maps are NHWC.
namespace vistazo {

// The names that differ between the dialects of a checkpoint.
struct ConvBlockNames {
  std::string_view conv1, conv2;  // "conv1", "cv1"
  std::string_view blocks;        // "bottlenecks", "m"
  std::string_view norm;          // "norm", "bn"
};

// A convolution without bias, a layer norm over channels, an activation.
struct ConvNorm {
  Convolution conv;
  Norm norm;
  Activation activation = Activation::none;
};

ConvNorm read_conv_norm(const WeightCursor& w, const ConvBlockNames& names, const ConvolutionShape& shape, float eps,
                        Activation activation);
// x (B, H, W, in) -> y (B, H', W', out), a slice of columns perhaps.
void run_conv_norm(Ops& ops, const ConvNorm& block, const Tensor& x, const Tensor& y);

// The names of a convolution and of the batch norm behind it.
struct BatchNormNames {
  std::string_view conv, norm;  // "convolution", "normalization"; "0", "1"
};

constexpr float kBatchNormEps = 1e-5f;  // PyTorch's default, and that of frozen batch norms

// A convolution on the host with the batch norm behind it folded in, by the norm's running statistics.
struct FoldedConvolution {
  ConvolutionShape shape;
  std::vector<float> weight;  // (out, in / groups, kernel_height, kernel_width)
  std::vector<float> bias;    // (out)
};

// <conv>.weight; <norm>.weight, .bias, .running_mean and .running_var.
FoldedConvolution read_folded(const WeightCursor& w, const BatchNormNames& names, const ConvolutionShape& shape,
                              float eps = kBatchNormEps);
// Adds a 1 x 1 convolution beside one with an odd kernel, of the same channels, stride and input: RepVGG's branches
// (Ding et al. 2021, arXiv:2101.03697).
void add_pointwise(FoldedConvolution& to, const FoldedConvolution& pointwise);

// A convolution with a folded batch norm, and what follows it.
struct ConvUnit {
  Convolution conv;
  ConvolutionEpilogue epilogue;
};

ConvUnit store_conv_unit(const WeightCursor& w, const FoldedConvolution& folded, const ConvolutionEpilogue& epilogue);
ConvUnit read_conv_unit(const WeightCursor& w, const BatchNormNames& names, const ConvolutionShape& shape,
                        const ConvolutionEpilogue& epilogue, float eps = kBatchNormEps);
// x (B, H, W, in) -> (B, H', W', out), dtype(), or into y; x and y may be slices of channels.
Tensor run_conv_unit(Ops& ops, const ConvUnit& unit, const Tensor& x);
// The first of a network, of pixels (B, in, H, W) f32.
Tensor run_conv_unit_on_pixels(Ops& ops, const ConvUnit& unit, const Tensor& pixels);
void run_conv_unit_into(Ops& ops, const ConvUnit& unit, const Tensor& x, const Tensor& y);

// YOLOv8's C2f as LW-DETR uses it (arXiv:2406.03459): a 1x1 convolution, a chain of 3x3 pairs on half of its channels,
// and a 1x1 convolution over everything seen on the way.
struct C2f {
  struct Bottleneck {
    ConvNorm first, second;
  };
  Linear conv1, conv2;
  Norm norm1, norm2;
  std::vector<Bottleneck> blocks;
  int hidden = 0;
  Activation activation = Activation::none;
};

struct C2fConfig {
  int in = 0, out = 0, hidden = 0, blocks = 0;
  float norm_eps = 0;
  Activation activation = Activation::none;
};

C2f read_c2f(const WeightCursor& w, const ConvBlockNames& names, const C2fConfig& c);
// x (B, H, W, in) -> (B, H, W, out), dtype().
Tensor run_c2f(Ops& ops, const C2f& block, const Tensor& x);

}  // namespace vistazo
