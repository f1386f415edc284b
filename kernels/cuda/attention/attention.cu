// Launcher of attention on CUDA: checks the arguments, finds how each operand may be read, and picks the kernel.
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "kernels/attention.h"
#include "kernels/base/check_cuda.h"
#include "kernels/base/error.h"
#include "kernels/cuda/attention/tiles.h"

namespace vistazo::cuda {
namespace {

constexpr int kMaxDim = 128;

void check(const AttentionArgs& args) {
  if (args.dtype != DType::f32 && args.dtype != DType::f16 && args.dtype != DType::bf16) {
    fail(Error::Code::unsupported, "attention: dtype is {}, must be f32, f16 or bf16", name_of(args.dtype));
  }
  for (const auto& [name, value] : {std::pair{"batch", args.batch}, std::pair{"heads", args.heads},
                                    std::pair{"queries", args.queries}, std::pair{"keys", args.keys}}) {
    if (value < 1) fail(Error::Code::unsupported, "attention: {} is {}, must be positive", name, value);
  }
  for (const auto& [name, dim] : {std::pair{"head_dim", args.head_dim}, std::pair{"value_dim", args.value_dim}}) {
    if (dim < 1 || dim > kMaxDim) {
      fail(Error::Code::unsupported, "attention: {} is {}, must be 1 to {}", name, dim, kMaxDim);
    }
  }
  check_rope(args.rope, args.queries, args.keys, args.head_dim);
}

// Whether the row of every token, head and batch entry starts at a multiple of `bytes`.
bool are_rows_aligned(const void* data, std::int64_t batch_stride, std::int64_t row_stride, int dim,
                      const AttentionArgs& args, int bytes) {
  const std::int64_t element = static_cast<std::int64_t>(size_of(args.dtype));
  return reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(bytes) == 0 &&
         (args.batch == 1 || batch_stride * element % bytes == 0) && row_stride * element % bytes == 0 &&
         (args.heads == 1 || dim * element % bytes == 0);
}

bool holds_words(int dim, DType dtype) {
  return dim * size_of(dtype) % 4 == 0;
}

RowCopy choose_copy(const AttentionOperand& x, int dim, const AttentionArgs& args) {
  if (are_rows_aligned(x.data, x.batch_stride, x.row_stride, dim, args, 16)) return RowCopy::bytes16;
  const bool are_words = are_rows_aligned(x.data, x.batch_stride, x.row_stride, dim, args, 4);
  return are_words && holds_words(dim, args.dtype) ? RowCopy::bytes4 : RowCopy::elements;
}

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

}  // namespace

AttentionLaunch make_attention_launch(const AttentionArgs& args) {
  check(args);
  constexpr float kLog2E = 1.44269504088896340736f;
  AttentionLaunch launch{};
  launch.args = args;
  launch.scale_log2 = std::fmax(std::fabs(args.scale) * kLog2E, std::numeric_limits<float>::min());
  launch.is_q_negated = args.scale < 0.0f;
  launch.q_copy = choose_copy(args.q, args.head_dim, args);
  launch.k_copy = choose_copy(args.k, args.head_dim, args);
  launch.v_copy = choose_copy(args.v, args.value_dim, args);
  launch.are_pairs_stored =
      holds_words(args.value_dim, args.dtype) &&
      are_rows_aligned(args.out, args.out_batch_stride, args.out_row_stride, args.value_dim, args, 4);
  return launch;
}

bool suits_sm90(const AttentionLaunch& launch) {
  const AttentionArgs& args = launch.args;
  // The copy engine's strides are positive: an operand repeated for every batch entry has none.
  const auto suits = [&](const AttentionOperand& x, RowCopy copy) {
    return copy == RowCopy::bytes16 && x.row_stride > 0 && (args.batch == 1 || x.batch_stride > 0);
  };
  return args.dtype != DType::f32 && !launch.is_q_negated && args.head_dim % 8 == 0 && args.value_dim % 8 == 0 &&
         suits(args.q, launch.q_copy) && suits(args.k, launch.k_copy) && suits(args.v, launch.v_copy) &&
         are_rows_aligned(args.out, args.out_batch_stride, args.out_row_stride, args.value_dim, args, 16);
}

void attention(const AttentionArgs& args, CudaStream stream, AttentionPath path, const BatchPlan& plan) {
  const AttentionLaunch launch = make_attention_launch(args);
  // Code for 9.0a runs on no other capability.
  const bool is_sm90 =
      path != AttentionPath::sm80 && suits_sm90(launch) && attribute(cudaDevAttrComputeCapabilityMajor) == 9;
  if (path == AttentionPath::sm90 && !is_sm90 && args.dtype != DType::f32) {
    fail(Error::Code::unsupported,
         "attention: path sm90 needs compute capability 9.0, a scale that is not negative, dimensions that are "
         "multiples of 8 and rows at multiples of 16 bytes");
  }
  if (args.rope.table != nullptr) rotate_queries_and_keys(args, stream);
  if (args.dtype == DType::f32) return attention_f32(launch, stream);
  if (is_sm90) {
    AttentionArgs planned = args;
    planned.batch = plan.scaled(args.batch);
    return attention_sm90(launch, choose_sm90(planned, attribute(cudaDevAttrMultiProcessorCount)), stream);
  }
  attention_sm80(launch, stream);
}

}  // namespace vistazo::cuda
