// A thread owns four adjacent pairs of a head, or one where halves of heads are not aligned to groups. The heads of a
// token read its cosines and sines from a cache. Limited by memory.
#include "kernels/base/error.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/rope.h"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kGroup = 4;

struct RopeLaunch {
  RopeArgs args;
  int half_groups;  // of half a head
  int rotated;      // tokens of an image
};

template <int kCount>
__global__ void __launch_bounds__(kThreads) rope_kernel(const __grid_constant__ RopeLaunch launch) {
  dependent_launch();
  const RopeArgs& args = launch.args;
  const auto [head_row, group] = divide(thread_of_grid<kThreads>(), launch.half_groups);
  const auto [row, head] = divide(head_row, args.heads);
  const auto [image, token] = divide(row, launch.rotated);
  if (image >= args.batch) return;
  const int half = args.head_dim / 2;
  const float* table = args.table + std::int64_t{token} * args.head_dim + group * kCount;
  const std::int64_t element =
      (image * args.tokens + args.prefix + token) * args.row_stride + head * args.head_dim + group * kCount;
  float low[kCount], high[kCount], cosines[kCount], sines[kCount];
  load_group(low, args.x, element, args.dtype);
  load_group(high, args.x, element + half, args.dtype);
  load_group(cosines, table);
  load_group(sines, table + half);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float rotated = fmaf(-high[i], sines[i], low[i] * cosines[i]);
    high[i] = fmaf(low[i], sines[i], high[i] * cosines[i]);
    low[i] = rotated;
  }
  store_group(args.x, element, args.dtype, low);
  store_group(args.x, element + half, args.dtype, high);
}

}  // namespace

void rope(const RopeArgs& args, CudaStream stream) {
  if (!is_float(args.dtype)) {
    fail(Error::Code::unsupported, "rope: {}; f32, f16 or bf16 is needed", name_of(args.dtype));
  }
  const std::int64_t cols = std::int64_t{args.heads} * args.head_dim;
  if (args.batch < 0 || args.tokens < 1 || args.heads < 1 || args.head_dim < 2 || args.head_dim % 2 != 0 ||
      args.prefix < 0 || args.row_stride < cols) {
    fail(Error::Code::argument, "rope: batch {}, tokens {}, heads {}, head_dim {} (even), prefix {}, row stride {}",
         args.batch, args.tokens, args.heads, args.head_dim, args.prefix, args.row_stride);
  }
  if (args.batch == 0 || args.tokens <= args.prefix) return;
  const int half = args.head_dim / 2;
  const bool is_grouped = half % kGroup == 0 && are_groups_aligned(kGroup, args.x, args.row_stride, args.dtype) &&
                          are_groups_aligned(kGroup, args.table, half, DType::f32);
  const RopeLaunch parameters{args, is_grouped ? half / kGroup : half, args.tokens - args.prefix};
  const std::int64_t heads = std::int64_t{args.batch} * parameters.rotated * args.heads;
  launch("rope", is_grouped ? rope_kernel<kGroup> : rope_kernel<1>,
         ceil_divide(heads * parameters.half_groups, kThreads), kThreads, 0, stream, parameters);
}

}  // namespace vistazo::cuda
