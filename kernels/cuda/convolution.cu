// Convolution on CUDA: checks and packing; the products are in gemm/ and direct_convolution.cu.
#include <limits>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/direct_convolution.h"
#include "kernels/cuda/gemm/gemm.h"

namespace vistazo::cuda {
namespace {

// (out, kernel row, kernel column, channel of the group), the channel fastest, rows padded to weight_stride.
std::vector<float> packed(const float* weight, const ConvolutionShape& s, int weight_stride) {
  const auto channels = static_cast<std::size_t>(s.in_channels / s.groups), stride = std::size_t(weight_stride);
  const auto taps = static_cast<std::size_t>(s.kernel_height) * static_cast<std::size_t>(s.kernel_width);
  const auto rows = static_cast<std::size_t>(s.out_channels);
  std::vector<float> result(rows * stride);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t tap = 0; tap < taps; ++tap) {
      for (std::size_t c = 0; c < channels; ++c) {
        result[row * stride + tap * channels + c] = weight[(row * channels + c) * taps + tap];
      }
    }
  }
  return result;
}

bool is_depthwise(const ConvolutionShape& s) {
  return s.in_channels == s.groups && s.out_channels == s.groups && s.groups > 1;
}

// (tap, channel) for a depthwise convolution, rows padded to weight_stride.
std::vector<float> packed_depthwise(const float* weight, const ConvolutionShape& s, int weight_stride) {
  const auto taps = static_cast<std::size_t>(s.kernel_height) * static_cast<std::size_t>(s.kernel_width);
  const auto channels = static_cast<std::size_t>(s.groups), stride = static_cast<std::size_t>(weight_stride);
  std::vector<float> result(taps * stride);
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t tap = 0; tap < taps; ++tap) result[tap * stride + c] = weight[c * taps + tap];
  }
  return result;
}

int round_up(int count) {
  return (count + kWeightAlignment - 1) / kWeightAlignment * kWeightAlignment;
}

}  // namespace

struct PackedConvolution::Impl {
  ConvolutionShape shape;
  int weight_stride;
  DType dtype;
  DeviceMemory weight, bias;
};

PackedConvolution::PackedConvolution(const float* weight, const float* bias, const ConvolutionShape& shape, DType dtype)
    : impl_(std::make_unique<Impl>()) {
  const ConvolutionShape& s = shape;
  if (s.in_channels <= 0 || s.out_channels <= 0 || s.groups <= 0 || s.in_channels % s.groups != 0 ||
      s.out_channels % s.groups != 0) {
    fail(Error::Code::argument, "convolution: {} -> {} channels in {} groups", s.in_channels, s.out_channels, s.groups);
  }
  if (s.kernel_height <= 0 || s.kernel_width <= 0 || s.stride <= 0 || s.padding < 0 || s.end_padding < 0) {
    fail(Error::Code::argument, "convolution: a kernel of {} x {}, stride {}, padding {} and {}", s.kernel_height,
         s.kernel_width, s.stride, s.padding, s.end_padding);
  }
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16) {
    fail(Error::Code::unsupported, "convolution: {}; f32, f16 or bf16 is needed", name_of(dtype));
  }
  impl_->shape = shape;
  impl_->weight_stride =
      round_up(is_depthwise(s) ? s.groups : s.in_channels / s.groups * s.kernel_height * s.kernel_width);
  impl_->dtype = dtype;
  impl_->weight = upload((is_depthwise(s) ? packed_depthwise : packed)(weight, s, impl_->weight_stride), dtype);
  if (bias != nullptr) impl_->bias = upload({bias, static_cast<std::size_t>(s.out_channels)}, DType::f32);
}

PackedConvolution::~PackedConvolution() = default;
PackedConvolution::PackedConvolution(PackedConvolution&&) noexcept = default;
PackedConvolution& PackedConvolution::operator=(PackedConvolution&&) noexcept = default;

const ConvolutionShape& PackedConvolution::shape() const {
  return impl_->shape;
}

std::size_t PackedConvolution::bytes() const {
  return impl_->weight.bytes() + impl_->bias.bytes();
}

bool reads_planes(const ConvolutionShape& shape) {
  Gemm product{};
  product.groups = shape.groups;
  product.channels = shape.in_channels / shape.groups;
  product.depth = product.channels * shape.kernel_height * shape.kernel_width;
  return is_stem(product);
}

void PackedConvolution::run(const ConvolutionArgs& args, const MatmulContext& context) const {
  const Impl& impl = *impl_;
  const ConvolutionShape& s = impl.shape;
  if (args.y_dtype != DType::f32 && args.y_dtype != impl.dtype) {
    fail(Error::Code::unsupported, "convolution: y is {}; f32 or the weight's {} is needed", name_of(args.y_dtype),
         name_of(impl.dtype));
  }
  if (args.batch < 0 || args.height <= 0 || args.width <= 0 ||
      args.height + 2 * s.padding + s.end_padding < s.kernel_height ||
      args.width + 2 * s.padding + s.end_padding < s.kernel_width) {
    fail(Error::Code::argument, "convolution: {} images of {} x {} for a kernel of {} x {}", args.batch, args.height,
         args.width, s.kernel_height, s.kernel_width);
  }
  const std::int64_t x_stride = args.x_pixel_stride == 0 ? s.in_channels : args.x_pixel_stride;
  const std::int64_t y_stride = args.y_pixel_stride == 0 ? s.out_channels : args.y_pixel_stride;
  if (x_stride < s.in_channels || y_stride < s.out_channels) {
    fail(Error::Code::argument, "convolution: pixel strides {} and {} for {} and {} channels", x_stride, y_stride,
         s.in_channels, s.out_channels);
  }
  const int out_height = s.out_height(args.height), out_width = s.out_width(args.width);
  const std::int64_t rows = static_cast<std::int64_t>(args.batch) * out_height * out_width;
  if (rows > std::numeric_limits<int>::max() / 2) {
    fail(Error::Code::unsupported, "convolution: {} output pixels; split the batch", rows);
  }
  const Gemm product{.x = args.x,
                     .weight = impl.weight.data(),
                     .bias = static_cast<const float*>(impl.bias.data()),
                     .y = args.y,
                     .dtype = impl.dtype,
                     .y_dtype = args.y_dtype,
                     .rows = static_cast<int>(rows),
                     .columns = s.out_channels / s.groups,
                     .depth = s.in_channels / s.groups * s.kernel_height * s.kernel_width,
                     .groups = s.groups,
                     .x_stride = x_stride,
                     .y_stride = y_stride,
                     .weight_stride = impl.weight_stride,
                     .batch = args.batch,
                     .height = args.height,
                     .width = args.width,
                     .channels = s.in_channels / s.groups,
                     .out_height = out_height,
                     .out_width = out_width,
                     .kernel_height = s.kernel_height,
                     .kernel_width = s.kernel_width,
                     .stride = s.stride,
                     .padding = s.padding,
                     .activation = args.activation,
                     .accumulate = args.accumulate,
                     .post_scale = args.post_scale,
                     .post_bias = args.post_bias,
                     .is_x_planar = args.is_x_planar};
  if (product.rows == 0) return;
  if (args.is_x_planar) {
    if (!is_stem(product)) {
      fail(Error::Code::unsupported, "convolution: planes of {} channels in {} groups, a kernel of {} x {}",
           s.in_channels, s.groups, s.kernel_height, s.kernel_width);
    }
    return (is_planar_product(product) ? planar_convolution : stem_convolution)(product, context.stream);
  }
  if (is_depthwise(s)) return depthwise_convolution(product, context.stream);
  if (context.path == GemmPath::automatic && is_stem(product)) return stem_convolution(product, context.stream);
  gemm("convolution", product, context);
}

}  // namespace vistazo::cuda
