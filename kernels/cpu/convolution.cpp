#include "kernels/cpu/convolution.h"

#include <algorithm>
#include <string>

#include "kernels/base/error.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/thread_pool.h"

// oneDNN's direct convolution with bias and activation fused into its epilogue. oneDNN divides images, rows and output
// channels among the threads. The weight is reordered once into the blocks that the processor's kernel wants for an
// image of a common size; its kernels for other sizes take the same blocks.
namespace vistazo::cpu {

namespace {

// The size that the weight layout is chosen for: larger than a kernel, so that no degenerate case is chosen.
constexpr int kNominalSize = 32;

struct PrimitiveKey {
  int batch, height, width;
  int threads;
  DType y_dtype;
  Activation activation;

  bool operator==(const PrimitiveKey&) const = default;
};

dnnl::memory::dims weight_dims(const ConvolutionShape& s) {
  if (s.groups == 1) return {s.out_channels, s.in_channels, s.kernel_height, s.kernel_width};
  return {s.groups, s.out_channels / s.groups, s.in_channels / s.groups, s.kernel_height, s.kernel_width};
}

void validate(const ConvolutionShape& s) {
  const bool is_positive = s.in_channels > 0 && s.out_channels > 0 && s.kernel_height > 0 && s.kernel_width > 0 &&
                           s.stride > 0 && s.padding >= 0 && s.groups > 0;
  if (!is_positive || s.in_channels % s.groups != 0 || s.out_channels % s.groups != 0) {
    fail(Error::Code::argument, "convolution: {} -> {} channels in {} groups, kernel {} x {}, stride {}, padding {}",
         s.in_channels, s.out_channels, s.groups, s.kernel_height, s.kernel_width, s.stride, s.padding);
  }
}

}  // namespace

struct PackedConvolution::Impl {
  ConvolutionShape shape;
  DType dtype;
  AlignedBuffer weight_bytes, bias_bytes;
  dnnl::memory weight, bias;
  onednn::PrimitiveCache<PrimitiveKey> primitives;

  dnnl::convolution_forward::primitive_desc describe(const PrimitiveKey& key, const dnnl::memory::desc& weight_desc,
                                                     bool has_bias) const;
  std::shared_ptr<const onednn::PreparedPrimitive> prepare(const PrimitiveKey& key);
};

dnnl::convolution_forward::primitive_desc PackedConvolution::Impl::describe(const PrimitiveKey& key,
                                                                            const dnnl::memory::desc& weight_desc,
                                                                            bool has_bias) const {
  using dnnl::memory;
  using Forward = dnnl::convolution_forward;
  const auto nhwc = memory::format_tag::nhwc;
  const memory::desc x({key.batch, shape.in_channels, key.height, key.width}, onednn::data_type_of(dtype), nhwc);
  const memory::desc y({key.batch, shape.out_channels, shape.out_height(key.height), shape.out_width(key.width)},
                       onednn::data_type_of(key.y_dtype), nhwc);
  const memory::desc b({shape.out_channels}, memory::data_type::f32, memory::format_tag::a);
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto direct = dnnl::algorithm::convolution_direct;  // Winograd's sums are less exact
  const memory::dims strides{shape.stride, shape.stride}, padding{shape.padding, shape.padding};
  const Forward::desc desc = has_bias ? Forward::desc(kind, direct, x, weight_desc, b, y, strides, padding, padding)
                                      : Forward::desc(kind, direct, x, weight_desc, y, strides, padding, padding);
  dnnl::post_ops post_ops;
  onednn::append_activation(post_ops, key.activation);
  return {desc, onednn::attributes_of(post_ops), onednn::engine()};
}

std::shared_ptr<const onednn::PreparedPrimitive> PackedConvolution::Impl::prepare(const PrimitiveKey& key) {
  return primitives.get(key, [&] {
    const onednn::TeamSize team(key.threads);
    const auto description = describe(key, weight.get_desc(), static_cast<bool>(bias));
    return std::make_shared<const onednn::PreparedPrimitive>(dnnl::convolution_forward(description), weight, bias);
  });
}

PackedConvolution::PackedConvolution(const float* weight, const float* bias, const ConvolutionShape& shape, DType dtype)
    : impl_(std::make_unique<Impl>()) {
  validate(shape);
  impl_->shape = shape;
  impl_->dtype = dtype;
  using dnnl::memory;
  const auto plain_tag = shape.groups == 1 ? memory::format_tag::oihw : memory::format_tag::goihw;
  const memory::desc any(weight_dims(shape), onednn::data_type_of(dtype), memory::format_tag::any);
  const memory::desc plain(weight_dims(shape), memory::data_type::f32, plain_tag);
  const memory::desc plain_bias({shape.out_channels}, memory::data_type::f32, memory::format_tag::a);
  const PrimitiveKey nominal{
      1, kNominalSize + shape.kernel_height, kNominalSize + shape.kernel_width, 1, dtype, Activation::none};
  try {
    const auto description = impl_->describe(nominal, any, bias != nullptr);
    if (dtype == DType::bf16 && onednn::is_reference(description.impl_info_str())) {
      fail(Error::Code::unsupported, "convolution: this processor has no bf16 products; use f32");
    }
    impl_->weight = onednn::pack(weight, plain, description.weights_desc(), impl_->weight_bytes);
    if (bias != nullptr) impl_->bias = onednn::pack(bias, plain_bias, plain_bias, impl_->bias_bytes);
  } catch (const dnnl::error& error) {
    fail(Error::Code::unsupported, "convolution: oneDNN cannot run {} on this processor ({}); use f32", name_of(dtype),
         error.what());
  }
}

PackedConvolution::~PackedConvolution() = default;
PackedConvolution::PackedConvolution(PackedConvolution&&) noexcept = default;
PackedConvolution& PackedConvolution::operator=(PackedConvolution&&) noexcept = default;

const ConvolutionShape& PackedConvolution::shape() const {
  return impl_->shape;
}

std::size_t PackedConvolution::bytes() const {
  return impl_->weight_bytes.size() + impl_->bias_bytes.size();
}

void PackedConvolution::run(const ConvolutionArgs& args, const ThreadPool& pool) const {
  Impl& impl = *impl_;
  if (args.y_dtype != DType::f32 && args.y_dtype != impl.dtype) {
    fail(Error::Code::unsupported, "convolution: y is {}; f32 or the weight's {} is needed", name_of(args.y_dtype),
         name_of(impl.dtype));
  }
  const bool is_kernel_inside = args.height + 2 * impl.shape.padding >= impl.shape.kernel_height &&
                                args.width + 2 * impl.shape.padding >= impl.shape.kernel_width;
  if (args.batch < 0 || args.height <= 0 || args.width <= 0 || !is_kernel_inside) {
    fail(Error::Code::argument, "convolution: {} images of {} x {} for a kernel of {} x {}, padding {}", args.batch,
         args.height, args.width, impl.shape.kernel_height, impl.shape.kernel_width, impl.shape.padding);
  }
  if (args.batch == 0) return;
  const int threads = onednn::team_size(pool.threads());
  try {
    const auto primitive = impl.prepare({args.batch, args.height, args.width, threads, args.y_dtype, args.activation});
    const onednn::TeamSize team(threads);
    primitive->run(args.x, args.y);
  } catch (const dnnl::error& error) {
    fail(Error::Code::device, "convolution: {} images of {} x {}: oneDNN: {}", args.batch, args.height, args.width,
         error.what());
  }
}

}  // namespace vistazo::cpu
