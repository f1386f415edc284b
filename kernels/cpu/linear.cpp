#include "kernels/cpu/linear.h"

#include <algorithm>
#include <memory>

#include "kernels/base/error.h"
#include "kernels/cpu/activation_range.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/thread_pool.h"

// oneDNN's inner product with bias, activation or accumulation fused into its epilogue. The weight is reordered once
// into the blocks that the processor's kernel wants; that layout does not depend on the number of rows, so every
// primitive shares it. The pool's threads take blocks of rows and multiply each on their own. The blocks depend on the
// number of rows only, so results do not depend on the number of threads.
//
// gelu is ours, which is faster than oneDNN's: it is applied to a block's product in the L2 cache, on its way from f32
// scratch to y. With strided operands oneDNN 2.6 falls back to its reference loops (a thousand times slower), so column
// slices are copied into and out of dense scratch.
namespace vistazo::cpu {

namespace {

using onednn::PreparedPrimitive;
using Prepared = std::shared_ptr<const PreparedPrimitive>;

// The number of rows that the weight layout is chosen for. oneDNN runs its fast kernels on these blocks for any other;
// see docs/kernels/linear.md.
constexpr int kNominalRows = 1024;

// Blocks for up to 16 threads, with rows for whole AMX tiles: at least kLeastRows, so that each block of the weight is
// reused from L1, at most kMostRows, so that x and y of 1024 columns (1 MB in f32) stay in an L2 cache. Between them
// oneDNN's speed hardly depends on the size (docs/kernels/linear.md).
constexpr std::int64_t kLeastRows = 48, kMostRows = 128;
constexpr std::int64_t kBlocks = 16, kTileRows = 16;

// Rows in blocks of the same size but one, which has up to half a block more or less. It goes first: the last items
// should not be the longest.
struct RowBlocks {
  explicit RowBlocks(std::int64_t rows)
      : block(std::min(rows, std::clamp(rows / kBlocks / kTileRows * kTileRows, kLeastRows, kMostRows))),
        count((rows + block / 2) / block),
        odd(rows - (count - 1) * block) {}

  std::int64_t first_row(std::int64_t item) const { return item == 0 ? 0 : odd + (item - 1) * block; }
  std::int64_t rows(std::int64_t item) const { return item == 0 ? odd : block; }

  std::int64_t block, count, odd;
};

struct PrimitiveKey {
  std::int64_t rows;
  DType y_dtype;
  Activation activation;  // the fused one
  bool accumulate;

  bool operator==(const PrimitiveKey&) const = default;
};

void activate_rows(const float* product, std::byte* y, const LinearArgs& args, std::int64_t rows, int out) {
  if (args.y_row_stride == out) return activate_range(product, y, rows * out, args.activation, args.y_dtype);
  const std::int64_t stride = args.y_row_stride * static_cast<std::int64_t>(size_of(args.y_dtype));
  for (std::int64_t r = 0; r < rows; ++r) {
    activate_range(product + r * out, y + r * stride, out, args.activation, args.y_dtype);
  }
}

}  // namespace

struct PackedLinear::Impl {
  int in, out;
  DType dtype;
  AlignedBuffer weight_bytes, bias_bytes;
  dnnl::memory weight, bias;
  onednn::PrimitiveCache<PrimitiveKey> primitives;

  dnnl::inner_product_forward::primitive_desc describe(const PrimitiveKey& key, const dnnl::memory::desc& weight_desc,
                                                       bool has_bias) const;
  Prepared prepare(const PrimitiveKey& key, int threads);
  void run(const LinearArgs& args, const ThreadPool& pool);
};

dnnl::inner_product_forward::primitive_desc PackedLinear::Impl::describe(const PrimitiveKey& key,
                                                                         const dnnl::memory::desc& weight_desc,
                                                                         bool has_bias) const {
  using dnnl::memory;
  const memory::desc x({key.rows, in}, onednn::data_type_of(dtype), memory::format_tag::ab);
  const memory::desc y({key.rows, out}, onednn::data_type_of(key.y_dtype), memory::format_tag::ab);
  const memory::desc b({out}, memory::data_type::f32, memory::format_tag::a);
  dnnl::post_ops post_ops;
  if (key.accumulate) post_ops.append_sum(1.0f);
  onednn::append_activation(post_ops, key.activation);
  using Forward = dnnl::inner_product_forward;
  const auto kind = dnnl::prop_kind::forward_inference;
  const Forward::desc desc =
      has_bias ? Forward::desc(kind, x, weight_desc, b, y) : Forward::desc(kind, x, weight_desc, y);
  return {desc, onednn::attributes_of(post_ops), onednn::engine()};
}

Prepared PackedLinear::Impl::prepare(const PrimitiveKey& key, int threads) {
  Prepared primitive = primitives.get(key, [&] {
    const onednn::OneThread one_thread;
    const auto description = describe(key, weight.get_desc(), static_cast<bool>(bias));
    return std::make_shared<const PreparedPrimitive>(dnnl::inner_product_forward(description), weight, bias);
  });
  primitive->reserve(threads);
  return primitive;
}

void PackedLinear::Impl::run(const LinearArgs& args, const ThreadPool& pool) {
  const RowBlocks blocks(args.rows);
  const bool is_fused = args.activation != Activation::gelu;
  const DType product_dtype = is_fused ? args.y_dtype : DType::f32;
  const Activation fused = is_fused ? args.activation : Activation::none;
  const Prepared block_product = prepare({blocks.block, product_dtype, fused, args.accumulate}, pool.threads());
  const Prepared odd_product = prepare({blocks.odd, product_dtype, fused, args.accumulate}, pool.threads());

  const auto bytes_of = [](std::int64_t elements, DType type) {
    return elements * static_cast<std::int64_t>(size_of(type));
  };
  const std::int64_t x_stride = bytes_of(args.x_row_stride, dtype), x_row = bytes_of(in, dtype);
  const std::int64_t y_stride = bytes_of(args.y_row_stride, args.y_dtype), product_row = bytes_of(out, product_dtype);
  const bool is_x_dense = args.x_row_stride == in;
  const bool is_in_place = args.y_row_stride == out && product_dtype == args.y_dtype;
  const std::int64_t most_rows = std::max(blocks.block, blocks.odd);
  const std::size_t pad_bytes = align_up(std::max(block_product->scratch_bytes(), odd_product->scratch_bytes()));
  const std::size_t x_bytes = is_x_dense ? 0 : align_up(static_cast<std::size_t>(most_rows * x_row));
  const std::size_t y_bytes = is_in_place ? 0 : align_up(static_cast<std::size_t>(most_rows * product_row));
  const std::size_t worker_bytes = pad_bytes + x_bytes + y_bytes;
  const onednn::CallScratch scratch(worker_bytes * static_cast<std::size_t>(pool.threads()));

  onednn::for_each_or_throw(pool, blocks.count, [&](std::int64_t item, int worker) {
    std::byte* const pad = scratch.data() + static_cast<std::size_t>(worker) * worker_bytes;
    const std::int64_t rows = blocks.rows(item);
    const std::byte* x = static_cast<const std::byte*>(args.x) + blocks.first_row(item) * x_stride;
    std::byte* const y = static_cast<std::byte*>(args.y) + blocks.first_row(item) * y_stride;
    std::byte* const product = is_in_place ? y : pad + pad_bytes + x_bytes;
    if (!is_x_dense) {
      onednn::copy_rows(x, x_stride, pad + pad_bytes, x_row, rows, static_cast<std::size_t>(x_row));
      x = pad + pad_bytes;
    }
    if (!is_in_place && args.accumulate) {
      onednn::copy_rows(y, y_stride, product, product_row, rows, static_cast<std::size_t>(product_row));
    }
    (item == 0 ? odd_product : block_product)->run(x, product, pad);
    if (!is_fused) {
      activate_rows(reinterpret_cast<const float*>(product), y, args, rows, out);
    } else if (!is_in_place) {
      onednn::copy_rows(product, product_row, y, y_stride, rows, static_cast<std::size_t>(product_row));
    }
  });
}

PackedLinear::PackedLinear(const float* weight, const float* bias, int in, int out, DType dtype)
    : impl_(std::make_unique<Impl>()) {
  if (in <= 0 || out <= 0) fail(Error::Code::argument, "linear: {} -> {} columns; both must be positive", in, out);
  impl_->in = in;
  impl_->out = out;
  impl_->dtype = dtype;
  using dnnl::memory;
  const memory::desc any({out, in}, onednn::data_type_of(dtype), memory::format_tag::any);
  const memory::desc plain({out, in}, memory::data_type::f32, memory::format_tag::ab);
  const memory::desc plain_bias({out}, memory::data_type::f32, memory::format_tag::a);
  try {
    const onednn::OneThread one_thread;
    const auto description = impl_->describe({kNominalRows, dtype, Activation::none, false}, any, bias != nullptr);
    if (dtype == DType::bf16 && onednn::is_reference(description.impl_info_str())) {
      fail(Error::Code::unsupported, "linear: this processor has no bf16 products; use f32");
    }
    impl_->weight = onednn::pack(weight, plain, description.weights_desc(), impl_->weight_bytes);
    if (bias != nullptr) impl_->bias = onednn::pack(bias, plain_bias, plain_bias, impl_->bias_bytes);
  } catch (const dnnl::error& error) {
    fail(Error::Code::unsupported, "linear: oneDNN cannot multiply {} on this processor ({}); use f32", name_of(dtype),
         error.what());
  }
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
  return impl_->weight_bytes.size() + impl_->bias_bytes.size();
}

void PackedLinear::run(const LinearArgs& args, const ThreadPool& pool) const {
  const Impl& impl = *impl_;
  if (args.y_dtype != DType::f32 && args.y_dtype != impl.dtype) {
    fail(Error::Code::unsupported, "linear: y is {}; f32 or the weight's {} is needed", name_of(args.y_dtype),
         name_of(impl.dtype));
  }
  if (args.accumulate && args.activation != Activation::none) {
    fail(Error::Code::argument, "linear: accumulation takes no activation");
  }
  if (args.rows < 0) fail(Error::Code::argument, "linear: {} rows", args.rows);
  if (args.rows == 0) return;
  LinearArgs dense = args;
  if (args.rows == 1) {
    dense.x_row_stride = impl.in;
    dense.y_row_stride = impl.out;
  }
  if (dense.x_row_stride < impl.in || dense.y_row_stride < impl.out) {
    fail(Error::Code::argument, "linear: row strides {} and {} for {} and {} columns", args.x_row_stride,
         args.y_row_stride, impl.in, impl.out);
  }
  try {
    impl_->run(dense, pool);
  } catch (const dnnl::error& error) {
    fail(Error::Code::device, "linear: {} rows of {} -> {}: oneDNN: {}", args.rows, impl.in, impl.out, error.what());
  }
}

}  // namespace vistazo::cpu
