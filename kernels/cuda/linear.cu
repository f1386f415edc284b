// Linear layers on CUDA: checks and packing; the product is in gemm/.
#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/linear.h"

namespace vistazo::cuda {

struct PackedLinear::Impl {
  int in, out, weight_stride;
  DType dtype;
  DeviceMemory weight, bias;
};

PackedLinear::PackedLinear(const float* weight, const float* bias, int in, int out, DType dtype)
    : impl_(std::make_unique<Impl>()) {
  if (in <= 0 || out <= 0) fail(Error::Code::argument, "linear: {} -> {} columns; both must be positive", in, out);
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16) {
    fail(Error::Code::unsupported, "linear: {}; f32, f16 or bf16 is needed", name_of(dtype));
  }
  impl_->in = in;
  impl_->out = out;
  impl_->weight_stride = (in + kWeightAlignment - 1) / kWeightAlignment * kWeightAlignment;
  impl_->dtype = dtype;
  const auto stride = static_cast<std::size_t>(impl_->weight_stride), rows = static_cast<std::size_t>(out);
  if (impl_->weight_stride == in) {
    impl_->weight = upload({weight, rows * stride}, dtype);
  } else {
    std::vector<float> padded(rows * stride);
    for (std::size_t r = 0; r < rows; ++r) {
      std::copy_n(weight + r * static_cast<std::size_t>(in), in, &padded[r * stride]);
    }
    impl_->weight = upload(padded, dtype);
  }
  if (bias != nullptr) impl_->bias = upload({bias, rows}, DType::f32);
}

PackedLinear::~PackedLinear() = default;
PackedLinear::PackedLinear(PackedLinear&&) noexcept = default;
PackedLinear& PackedLinear::operator=(PackedLinear&&) noexcept = default;

int PackedLinear::in() const {
  return impl_->in;
}

int PackedLinear::out() const {
  return impl_->out;
}

std::size_t PackedLinear::bytes() const {
  return impl_->weight.bytes() + impl_->bias.bytes();
}

void PackedLinear::run(const LinearArgs& args, const MatmulContext& context) const {
  const Impl& impl = *impl_;
  if (args.y_dtype != DType::f32 && args.y_dtype != impl.dtype) {
    fail(Error::Code::unsupported, "linear: y is {}; f32 or the weight's {} is needed", name_of(args.y_dtype),
         name_of(impl.dtype));
  }
  if (args.accumulate && args.activation != Activation::none) {
    fail(Error::Code::argument, "linear: accumulation takes no activation");
  }
  if (args.rows < 0 || args.rows > std::numeric_limits<int>::max() / 2) {
    fail(Error::Code::argument, "linear: {} rows", args.rows);
  }
  if (args.rows > 1 && (args.x_row_stride < impl.in || args.y_row_stride < impl.out)) {
    fail(Error::Code::argument, "linear: row strides {} and {} for {} and {} columns", args.x_row_stride,
         args.y_row_stride, impl.in, impl.out);
  }
  const int rows = static_cast<int>(args.rows);
  gemm("linear",
       {.x = args.x,
        .weight = impl.weight.data(),
        .bias = static_cast<const float*>(impl.bias.data()),
        .y = args.y,
        .dtype = impl.dtype,
        .y_dtype = args.y_dtype,
        .rows = rows,
        .columns = impl.out,
        .depth = impl.in,
        .groups = 1,
        .x_stride = rows == 1 ? impl.weight_stride : args.x_row_stride,
        .y_stride = rows == 1 ? impl.out : args.y_row_stride,
        .weight_stride = impl.weight_stride,
        .batch = 1,
        .height = 1,
        .width = rows,
        .channels = impl.in,
        .out_height = 1,
        .out_width = rows,
        .kernel_height = 1,
        .kernel_width = 1,
        .stride = 1,
        .padding = 0,
        .activation = args.activation,
        .accumulate = args.accumulate,
        .post_scale = 1,
        .post_bias = 0},
       context);
}

}  // namespace vistazo::cuda
