#include "kernels/cpu/linear.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <mutex>
#include <utility>

#include "kernels/base/error.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/thread_pool.h"

// oneDNN's inner product with bias, activation or accumulation fused into its epilogue. The weight is reordered once
// into the blocks that the processor's kernel wants; that layout does not depend on the number of rows, so every
// primitive shares it. oneDNN divides rows and columns among the threads of a dense product.
//
// With strided operands oneDNN 2.6 falls back to its reference loops (a thousand times slower). Column slices are
// therefore multiplied in blocks of rows: a worker takes a block, copies it into dense scratch that stays in its L2
// cache, multiplies on its own, and copies the result out.
namespace vistazo::cpu {

namespace {

using onednn::PreparedPrimitive;

// The number of rows that the weight layout is chosen for. oneDNN runs its fast kernels on these blocks for any other;
// see docs/kernels/linear.md.
constexpr int kNominalRows = 1024;

// Rows of a strided block: enough to reuse each weight block from L1, few enough that x and y of 1024 columns (1 MB in
// f32) stay in an L2 cache.
constexpr std::int64_t kBlockRows = 128;

struct PrimitiveKey {
  std::int64_t rows;
  int threads;
  DType y_dtype;
  Activation activation;
  bool accumulate;

  bool operator==(const PrimitiveKey&) const = default;
};

void copy_rows(const std::byte* from, std::int64_t from_row_bytes, std::byte* to, std::int64_t to_row_bytes,
               std::int64_t rows, std::size_t bytes) {
  for (std::int64_t r = 0; r < rows; ++r) std::memcpy(to + r * to_row_bytes, from + r * from_row_bytes, bytes);
}

}  // namespace

struct PackedLinear::Impl {
  int in, out;
  DType dtype;
  AlignedBuffer weight_bytes, bias_bytes;
  dnnl::memory weight, bias;
  onednn::PrimitiveCache<PrimitiveKey> primitives;
  onednn::BufferList block_scratch;

  dnnl::inner_product_forward::primitive_desc describe(const PrimitiveKey& key, const dnnl::memory::desc& weight_desc,
                                                       bool has_bias) const;
  std::shared_ptr<const PreparedPrimitive> prepare(const PrimitiveKey& key);
  void run_dense(const LinearArgs& args, const ThreadPool& pool);
  void run_strided(const LinearArgs& args, const ThreadPool& pool);
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

std::shared_ptr<const PreparedPrimitive> PackedLinear::Impl::prepare(const PrimitiveKey& key) {
  return primitives.get(key, [&] {
    const onednn::TeamSize team(key.threads);
    const auto description = describe(key, weight.get_desc(), static_cast<bool>(bias));
    return std::make_shared<const PreparedPrimitive>(dnnl::inner_product_forward(description), weight, bias);
  });
}

void PackedLinear::Impl::run_dense(const LinearArgs& args, const ThreadPool& pool) {
  const int threads = onednn::team_size(pool.threads());
  const auto primitive = prepare({args.rows, threads, args.y_dtype, args.activation, args.accumulate});
  const onednn::TeamSize team(threads);
  primitive->run(args.x, args.y);
}

void PackedLinear::Impl::run_strided(const LinearArgs& args, const ThreadPool& pool) {
  const std::int64_t block = std::min(args.rows, kBlockRows);
  const std::int64_t block_count = (args.rows + block - 1) / block;
  const std::int64_t last = args.rows - (block_count - 1) * block;
  const auto whole_block = prepare({block, 1, args.y_dtype, args.activation, args.accumulate});
  const auto last_block = prepare({last, 1, args.y_dtype, args.activation, args.accumulate});

  const std::int64_t x_row_bytes = args.x_row_stride * static_cast<std::int64_t>(size_of(dtype));
  const std::int64_t y_row_bytes = args.y_row_stride * static_cast<std::int64_t>(size_of(args.y_dtype));
  const std::size_t x_bytes = static_cast<std::size_t>(in) * size_of(dtype);
  const std::size_t y_bytes = static_cast<std::size_t>(out) * size_of(args.y_dtype);
  const bool is_x_dense = args.x_row_stride == in, is_y_dense = args.y_row_stride == out;
  const std::size_t x_scratch = is_x_dense ? 0 : align_up(static_cast<std::size_t>(block) * x_bytes);
  const std::size_t y_scratch = is_y_dense ? 0 : static_cast<std::size_t>(block) * y_bytes;

  const auto multiply_block = [&](std::int64_t item) {
    const std::int64_t rows = item + 1 == block_count ? last : block;
    const std::byte* x = static_cast<const std::byte*>(args.x) + item * block * x_row_bytes;
    std::byte* y = static_cast<std::byte*>(args.y) + item * block * y_row_bytes;
    AlignedBuffer scratch = block_scratch.take(x_scratch + y_scratch);
    std::byte* dense_y = is_y_dense ? y : scratch.data() + x_scratch;
    if (!is_x_dense) {
      copy_rows(x, x_row_bytes, scratch.data(), static_cast<std::int64_t>(x_bytes), rows, x_bytes);
      x = scratch.data();
    }
    if (!is_y_dense && args.accumulate) {
      copy_rows(y, y_row_bytes, dense_y, static_cast<std::int64_t>(y_bytes), rows, y_bytes);
    }
    const onednn::TeamSize team(1);
    (rows == block ? whole_block : last_block)->run(x, dense_y);
    if (!is_y_dense) copy_rows(dense_y, static_cast<std::int64_t>(y_bytes), y, y_row_bytes, rows, y_bytes);
    block_scratch.give_back(std::move(scratch));
  };

  std::exception_ptr error;  // of the last block that failed: what a worker throws must not leave its loop
  std::mutex error_mutex;
  pool.for_each(block_count, [&](std::int64_t item, int) {
    try {
      multiply_block(item);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
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
    const auto description = impl_->describe({kNominalRows, 1, dtype, Activation::none, false}, any, bias != nullptr);
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
  if (args.accumulate && (args.y_dtype != DType::f32 || args.activation != Activation::none)) {
    fail(Error::Code::argument, "linear: accumulation needs y in f32 and no activation");
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
    if (dense.x_row_stride == impl.in && dense.y_row_stride == impl.out) {
      impl_->run_dense(dense, pool);
    } else {
      impl_->run_strided(dense, pool);
    }
  } catch (const dnnl::error& error) {
    fail(Error::Code::device, "linear: {} rows of {} -> {}: oneDNN: {}", args.rows, impl.in, impl.out, error.what());
  }
}

}  // namespace vistazo::cpu
