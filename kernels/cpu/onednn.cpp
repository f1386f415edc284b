#include "kernels/cpu/onednn.h"

#include <omp.h>

#include <array>
#include <cstring>
#include <utility>

#include "kernels/base/error.h"

namespace vistazo::cpu::onednn {

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

dnnl::memory::data_type data_type_of(DType dtype) {
  if (dtype == DType::f32) return dnnl::memory::data_type::f32;
  if (dtype == DType::bf16) return dnnl::memory::data_type::bf16;
  fail(Error::Code::unsupported, "matrix product: dtype {}; f32 or bf16 is needed", name_of(dtype));
}

void append_activation(dnnl::post_ops& post_ops, Activation activation) {
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
    case Activation::silu:  // x * sigmoid(alpha x)
      return post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_swish, 1.0f, 0.0f);
    case Activation::gelu:
      return post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_gelu_erf, 0.0f, 0.0f);
  }
}

dnnl::primitive_attr attributes_of(const dnnl::post_ops& post_ops) {
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(post_ops);
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

bool is_reference(const std::string& implementation) {
  return implementation.find("ref") != std::string::npos;
}

OneThread::OneThread() : previous_(omp_get_max_threads()) {
  if (previous_ != 1) omp_set_num_threads(1);  // of this thread only
}

OneThread::~OneThread() {
  if (previous_ != 1) omp_set_num_threads(previous_);
}

PreparedPrimitive::PreparedPrimitive(const dnnl::primitive& primitive, const dnnl::memory& weights,
                                     const dnnl::memory& bias)
    : primitive_(primitive), weights_(weights), bias_(bias) {
  const_dnnl_primitive_desc_t description = primitive.get_primitive_desc();
  const auto desc_of = [&](dnnl_query_t what) {
    return dnnl::memory::desc(*dnnl_primitive_desc_query_md(description, what, 0));
  };
  source_desc_ = desc_of(dnnl_query_src_md);
  destination_desc_ = desc_of(dnnl_query_dst_md);
  scratchpad_desc_ = desc_of(dnnl_query_scratchpad_md);
  const char* name = nullptr;
  dnnl::error::wrap_c_api(dnnl_primitive_desc_query(description, dnnl_query_impl_info_str, 0, &name),
                          "the name of a primitive's implementation");
  implementation_ = name;
}

std::unique_ptr<PreparedPrimitive::Operands> PreparedPrimitive::make_operands() const {
  return std::make_unique<Operands>(Operands{dnnl::memory(source_desc_, engine(), DNNL_MEMORY_NONE),
                                             dnnl::memory(destination_desc_, engine(), DNNL_MEMORY_NONE),
                                             dnnl::memory(scratchpad_desc_, engine(), DNNL_MEMORY_NONE),
                                             dnnl::stream(engine())});
}

void PreparedPrimitive::reserve(int runs) const {
  while (made_.load(std::memory_order_relaxed) < runs) {
    ++made_;
    return_operands(make_operands());
  }
}

std::unique_ptr<PreparedPrimitive::Operands> PreparedPrimitive::take_operands() const {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto operands = std::move(idle_.back());
      idle_.pop_back();
      return operands;
    }
  }
  ++made_;
  return make_operands();
}

void PreparedPrimitive::return_operands(std::unique_ptr<Operands> operands) const {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(operands));
}

void PreparedPrimitive::run(const void* source, void* destination, void* scratch) const {
  auto operands = take_operands();
  operands->source.set_data_handle(const_cast<void*>(source));
  operands->destination.set_data_handle(destination);
  operands->scratchpad.set_data_handle(scratch);
  // The C interface takes an array where the C++ one builds a map in each call.
  std::array<dnnl_exec_arg_t, 5> arguments{{{DNNL_ARG_SRC, operands->source.get()},
                                            {DNNL_ARG_WEIGHTS, weights_.get()},
                                            {DNNL_ARG_DST, operands->destination.get()},
                                            {DNNL_ARG_SCRATCHPAD, operands->scratchpad.get()},
                                            {DNNL_ARG_BIAS, bias_ ? bias_.get() : nullptr}}};
  const int count = bias_ ? 5 : 4;
  const OneThread one_thread;
  const dnnl_status_t status =
      dnnl_primitive_execute(primitive_.get(), operands->stream.get(), count, arguments.data());
  return_operands(std::move(operands));
  if (status != dnnl_success) {
    fail(Error::Code::device, "oneDNN: {} failed with status {}", implementation_, static_cast<int>(status));
  }
}

namespace {

struct ScratchList {
  std::mutex mutex;
  std::vector<AlignedBuffer> idle;
};

ScratchList& scratch_list() {
  static ScratchList list;
  return list;
}

}  // namespace

CallScratch::CallScratch(std::size_t bytes) {
  ScratchList& list = scratch_list();
  {
    const std::lock_guard lock(list.mutex);
    if (!list.idle.empty()) {
      buffer_ = std::move(list.idle.back());
      list.idle.pop_back();
    }
  }
  if (buffer_.size() < bytes) buffer_ = AlignedBuffer(bytes);
}

CallScratch::~CallScratch() {
  ScratchList& list = scratch_list();
  const std::lock_guard lock(list.mutex);
  list.idle.push_back(std::move(buffer_));
}

void copy_rows(const std::byte* from, std::int64_t from_row_bytes, std::byte* to, std::int64_t to_row_bytes,
               std::int64_t rows, std::size_t bytes) {
  for (std::int64_t r = 0; r < rows; ++r) std::memcpy(to + r * to_row_bytes, from + r * from_row_bytes, bytes);
}

dnnl::memory pack(const float* values, const dnnl::memory::desc& plain, const dnnl::memory::desc& desc,
                  AlignedBuffer& keep) {
  return repack(dnnl::memory(plain, engine(), const_cast<float*>(values)), desc, keep);
}

dnnl::memory repack(const dnnl::memory& from, const dnnl::memory::desc& desc, AlignedBuffer& keep) {
  const OneThread one_thread;
  keep = AlignedBuffer(desc.get_size());
  dnnl::memory packed(desc, engine(), keep.data());
  dnnl::stream stream(engine());
  dnnl::reorder(from, packed).execute(stream, const_cast<dnnl::memory&>(from), packed);
  stream.wait();
  return packed;
}

}  // namespace vistazo::cpu::onednn
