#include "kernels/cpu/convolution.h"

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <string>

#include "kernels/base/error.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/thread_pool.h"

// oneDNN's direct convolution with bias and activation fused into its epilogue. An item of work is a band of rows of
// one image's output, which reads its rows of the input in place. The bands depend on the shape only, so results do not
// depend on the number of threads. The weight is reordered once into the blocks that the processor's kernel wants for
// an image of a common size. Most other sizes take the same blocks; those that would fall to reference loops get a copy
// in their own. Column slices are copied into and out of dense scratch, a band at a time and so in an L2 cache: with
// strided pixels oneDNN 2.6 has only its reference loops.
namespace vistazo::cpu {

namespace {

using Prepared = std::shared_ptr<const onednn::PreparedPrimitive>;

// The size that the weight layout is chosen for: larger than a kernel, so that no degenerate case is chosen.
constexpr int kNominalSize = 32;

// A band has at least this many rows of output, if the image has: bands of 4 rows cost 20 % in bf16.
constexpr int kBandRows = 8;
constexpr int kMaxBands = 16;  // of an image

// The input of a band, what surrounds it, and what becomes of the sums.
struct PrimitiveKey {
  int height, width;
  int padding_above, padding_below;
  DType y_dtype;
  Activation activation;
  bool accumulate = false;
  float post_scale = 1, post_bias = 0;

  bool operator==(const PrimitiveKey&) const = default;
};

struct Band {
  int first_row;  // of the output
  int rows;
  int input_row, input_height;
  int padding_above, padding_below;
};

int bands_of(const ConvolutionShape& s, int out_height) {
  if (s.padding + s.end_padding >= s.kernel_height) return 1;  // a band could lie in the padding altogether
  return std::clamp(out_height / kBandRows, 1, kMaxBands);
}

Band band_of(const ConvolutionShape& s, int height, int out_height, int bands, int index) {
  const int first = out_height * index / bands, last = out_height * (index + 1) / bands;
  const int above = first * s.stride - s.padding, below = (last - 1) * s.stride - s.padding + s.kernel_height;
  const int input_row = std::max(above, 0);
  return {.first_row = first,
          .rows = last - first,
          .input_row = input_row,
          .input_height = std::min(below, height) - input_row,
          .padding_above = input_row - above,
          .padding_below = std::max(below - height, 0)};
}

dnnl::memory::dims weight_dims(const ConvolutionShape& s) {
  if (s.groups == 1) return {s.out_channels, s.in_channels, s.kernel_height, s.kernel_width};
  return {s.groups, s.out_channels / s.groups, s.in_channels / s.groups, s.kernel_height, s.kernel_width};
}

void validate(const ConvolutionShape& s) {
  const bool is_positive = s.in_channels > 0 && s.out_channels > 0 && s.kernel_height > 0 && s.kernel_width > 0 &&
                           s.stride > 0 && s.padding >= 0 && s.end_padding >= 0 && s.groups > 0;
  if (!is_positive || s.in_channels % s.groups != 0 || s.out_channels % s.groups != 0) {
    fail(Error::Code::argument,
         "convolution: {} -> {} channels in {} groups, kernel {} x {}, stride {}, padding {} and {} at the end",
         s.in_channels, s.out_channels, s.groups, s.kernel_height, s.kernel_width, s.stride, s.padding, s.end_padding);
  }
}

// Where the pixels of an operand are, in bytes.
struct Pixels {
  Pixels(std::int64_t stride, int channels, DType dtype)
      : bytes(channels * static_cast<std::int64_t>(size_of(dtype))),
        stride_bytes(stride == 0 ? bytes : stride * static_cast<std::int64_t>(size_of(dtype))) {}

  bool is_dense() const { return stride_bytes == bytes; }
  std::size_t scratch_bytes(std::int64_t pixels) const {
    return is_dense() ? 0 : align_up(static_cast<std::size_t>(pixels * bytes));
  }
  void gather(const std::byte* slice, std::byte* dense, std::int64_t pixels) const {
    onednn::copy_rows(slice, stride_bytes, dense, bytes, pixels, static_cast<std::size_t>(bytes));
  }
  void scatter(const std::byte* dense, std::byte* slice, std::int64_t pixels) const {
    onednn::copy_rows(dense, bytes, slice, stride_bytes, pixels, static_cast<std::size_t>(bytes));
  }

  std::int64_t bytes, stride_bytes;  // of a pixel's channels; from one pixel to the next
};

}  // namespace

struct PackedConvolution::Impl {
  ConvolutionShape shape;
  DType dtype;
  AlignedBuffer weight_bytes, bias_bytes;
  dnnl::memory weight, bias;
  struct Repacked {
    AlignedBuffer bytes;
    dnnl::memory weight;
  };
  std::deque<Repacked> repacked;  // the weight in other layouts; touched only while a primitive is made
  onednn::PrimitiveCache<PrimitiveKey> primitives;

  dnnl::convolution_forward::primitive_desc describe(const PrimitiveKey& key, const dnnl::memory::desc& weight_desc,
                                                     bool has_bias) const;
  Prepared prepare(const PrimitiveKey& key, int runs);
  const dnnl::memory& weight_as(const dnnl::memory::desc& desc);
  void run(const ConvolutionArgs& args, const ThreadPool& pool);
};

dnnl::convolution_forward::primitive_desc PackedConvolution::Impl::describe(const PrimitiveKey& key,
                                                                            const dnnl::memory::desc& weight_desc,
                                                                            bool has_bias) const {
  using dnnl::memory;
  using Forward = dnnl::convolution_forward;
  const auto nhwc = memory::format_tag::nhwc;
  const int padded_height = key.height + key.padding_above + key.padding_below;
  const int out_height = (padded_height - shape.kernel_height) / shape.stride + 1;
  const memory::desc x({1, shape.in_channels, key.height, key.width}, onednn::data_type_of(dtype), nhwc);
  const memory::desc y({1, shape.out_channels, out_height, shape.out_width(key.width)},
                       onednn::data_type_of(key.y_dtype), nhwc);
  const memory::desc b({shape.out_channels}, memory::data_type::f32, memory::format_tag::a);
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto direct = dnnl::algorithm::convolution_direct;  // Winograd's sums are less exact
  const memory::dims strides{shape.stride, shape.stride};
  const memory::dims before{key.padding_above, shape.padding};
  const memory::dims after{key.padding_below, shape.padding + shape.end_padding};
  const Forward::desc desc = has_bias ? Forward::desc(kind, direct, x, weight_desc, b, y, strides, before, after)
                                      : Forward::desc(kind, direct, x, weight_desc, y, strides, before, after);
  dnnl::post_ops post_ops;
  if (key.accumulate) post_ops.append_sum(1.0f);
  onednn::append_activation(post_ops, key.activation);
  if (key.post_scale != 1 || key.post_bias != 0) {
    post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_linear, key.post_scale, key.post_bias);
  }
  return {desc, onednn::attributes_of(post_ops), onednn::engine()};
}

Prepared PackedConvolution::Impl::prepare(const PrimitiveKey& key, int runs) {
  Prepared primitive = primitives.get(key, [&] {
    const onednn::OneThread one_thread;
    const bool has_bias = static_cast<bool>(bias);
    auto description = describe(key, weight.get_desc(), has_bias);
    if (onednn::is_reference(description.impl_info_str())) {
      const dnnl::memory::desc any(weight_dims(shape), onednn::data_type_of(dtype), dnnl::memory::format_tag::any);
      description = describe(key, any, has_bias);
    }
    return std::make_shared<const onednn::PreparedPrimitive>(dnnl::convolution_forward(description),
                                                             weight_as(description.weights_desc()), bias);
  });
  primitive->reserve(runs);
  return primitive;
}

const dnnl::memory& PackedConvolution::Impl::weight_as(const dnnl::memory::desc& desc) {
  if (desc == weight.get_desc()) return weight;
  for (const Repacked& known : repacked) {
    if (known.weight.get_desc() == desc) return known.weight;
  }
  Repacked& made = repacked.emplace_back();
  made.weight = onednn::repack(weight, desc, made.bytes);
  return made.weight;
}

void PackedConvolution::Impl::run(const ConvolutionArgs& args, const ThreadPool& pool) {
  const int out_height = shape.out_height(args.height), out_width = shape.out_width(args.width);
  const int bands = bands_of(shape, out_height);
  std::array<Prepared, kMaxBands> products;
  std::size_t pad_bytes = 0;
  std::int64_t most_x_pixels = 0, most_y_pixels = 0;  // of a band
  for (int b = 0; b < bands; ++b) {
    const Band band = band_of(shape, args.height, out_height, bands, b);
    Prepared& product = products[static_cast<std::size_t>(b)];
    product = prepare({band.input_height, args.width, band.padding_above, band.padding_below, args.y_dtype,
                       args.activation, args.accumulate, args.post_scale, args.post_bias},
                      pool.threads());
    pad_bytes = std::max(pad_bytes, align_up(product->scratch_bytes()));
    most_x_pixels = std::max(most_x_pixels, std::int64_t{band.input_height} * args.width);
    most_y_pixels = std::max(most_y_pixels, std::int64_t{band.rows} * out_width);
  }

  const Pixels x_pixels(args.x_pixel_stride, shape.in_channels, dtype);
  const Pixels y_pixels(args.y_pixel_stride, shape.out_channels, args.y_dtype);
  const std::size_t x_bytes = x_pixels.scratch_bytes(most_x_pixels);
  const std::size_t worker_bytes = pad_bytes + x_bytes + y_pixels.scratch_bytes(most_y_pixels);
  const onednn::CallScratch scratch(worker_bytes * static_cast<std::size_t>(pool.threads()));

  onednn::for_each_or_throw(pool, std::int64_t{args.batch} * bands, [&](std::int64_t item, int worker) {
    const std::int64_t image = item / bands;
    const Band band = band_of(shape, args.height, out_height, bands, static_cast<int>(item % bands));
    const auto* x = static_cast<const std::byte*>(args.x) +
                    (image * args.height + band.input_row) * args.width * x_pixels.stride_bytes;
    auto* y =
        static_cast<std::byte*>(args.y) + (image * out_height + band.first_row) * out_width * y_pixels.stride_bytes;
    std::byte* const pad = scratch.data() + static_cast<std::size_t>(worker) * worker_bytes;
    std::byte* const dense_x = pad + pad_bytes;
    std::byte* const result = y_pixels.is_dense() ? y : dense_x + x_bytes;
    const std::int64_t count = std::int64_t{band.rows} * out_width;
    if (!x_pixels.is_dense()) x_pixels.gather(x, dense_x, std::int64_t{band.input_height} * args.width);
    if (!y_pixels.is_dense() && args.accumulate) y_pixels.gather(y, result, count);
    products[static_cast<std::size_t>(item % bands)]->run(x_pixels.is_dense() ? x : dense_x, result, pad);
    if (!y_pixels.is_dense()) y_pixels.scatter(result, y, count);
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
  const PrimitiveKey nominal{.height = kNominalSize + shape.kernel_height,
                             .width = kNominalSize + shape.kernel_width,
                             .padding_above = shape.padding,
                             .padding_below = shape.padding,
                             .y_dtype = dtype,
                             .activation = Activation::none};
  try {
    const onednn::OneThread one_thread;
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
  if (args.is_x_planar) fail(Error::Code::unsupported, "convolution: x in planes; channels last are needed");
  const ConvolutionShape& s = impl.shape;
  if ((args.x_pixel_stride != 0 && args.x_pixel_stride < s.in_channels) ||
      (args.y_pixel_stride != 0 && args.y_pixel_stride < s.out_channels)) {
    fail(Error::Code::argument, "convolution: pixel strides {} and {} for {} and {} channels", args.x_pixel_stride,
         args.y_pixel_stride, s.in_channels, s.out_channels);
  }
  const bool is_kernel_inside = args.height + 2 * s.padding + s.end_padding >= s.kernel_height &&
                                args.width + 2 * s.padding + s.end_padding >= s.kernel_width;
  if (args.batch < 0 || args.height <= 0 || args.width <= 0 || !is_kernel_inside) {
    fail(Error::Code::argument, "convolution: {} images of {} x {} for a kernel of {} x {}, padding {}", args.batch,
         args.height, args.width, s.kernel_height, s.kernel_width, s.padding);
  }
  if (args.batch == 0) return;
  try {
    impl.run(args, pool);
  } catch (const dnnl::error& error) {
    fail(Error::Code::device, "convolution: {} images of {} x {}: oneDNN: {}", args.batch, args.height, args.width,
         error.what());
  }
}

}  // namespace vistazo::cpu
