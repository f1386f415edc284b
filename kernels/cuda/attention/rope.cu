// Rotates q and k in place, in front of attention: once a row, where inside the kernels each tile of queries would
// rotate all keys again. A thread owns eight or four adjacent pairs of a head, or one where halves of heads are not
// aligned to groups. The heads of a token read its cosines and sines from a cache. Limited by memory.
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;

struct RopeLaunch {
  void* x;
  const float* table;
  std::int64_t batch_stride, row_stride;
  int batch, heads, head_dim;
  int prefix, rotated;  // tokens of a batch entry
  int half_groups;      // of half a head
  DType dtype;
};

template <int kCount>
__global__ void __launch_bounds__(kThreads) rope_kernel(const __grid_constant__ RopeLaunch launch) {
  dependent_launch();
  const auto [head_row, group] = divide(thread_of_grid<kThreads>(), launch.half_groups);
  const auto [row, head] = divide(head_row, launch.heads);
  const auto [entry, token] = divide(row, launch.rotated);
  if (entry >= launch.batch) return;
  const int half = launch.head_dim / 2;
  const float* const table = launch.table + std::int64_t{token} * launch.head_dim + group * kCount;
  const std::int64_t element = entry * launch.batch_stride + (launch.prefix + token) * launch.row_stride +
                               head * launch.head_dim + group * kCount;
  float low[kCount], high[kCount], cosines[kCount], sines[kCount];
  load_group(low, launch.x, element, launch.dtype);
  load_group(high, launch.x, element + half, launch.dtype);
  load_group(cosines, table);
  load_group(sines, table + half);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float rotated = fmaf(-high[i], sines[i], low[i] * cosines[i]);
    high[i] = fmaf(low[i], sines[i], high[i] * cosines[i]);
    low[i] = rotated;
  }
  store_group(launch.x, element, launch.dtype, low);
  store_group(launch.x, element + half, launch.dtype, high);
}

// x: heads of head_dim side by side.
void rotate(const AttentionArgs& args, const AttentionOperand& x, int heads, CudaStream stream) {
  const int half = args.head_dim / 2, rotated = args.keys - args.rope.prefix;
  if (rotated == 0) return;
  const std::int64_t rows = std::int64_t{args.batch} * rotated * heads;
  const auto fits = [&](int count) {
    return half % count == 0 && are_groups_aligned(count, x.data, x.row_stride, args.dtype) &&
           (args.batch == 1 || x.batch_stride % count == 0) &&
           are_groups_aligned(count, args.rope.table, half, DType::f32);
  };
  const int count = choose_group(rows * half, fits);
  const RopeLaunch parameters{
      const_cast<void*>(x.data), args.rope.table, x.batch_stride, x.row_stride, args.batch, heads, args.head_dim,
      args.rope.prefix,          rotated,         half / count,   args.dtype};
  const auto kernel = count == 8 ? rope_kernel<8> : count == 4 ? rope_kernel<4> : rope_kernel<1>;
  launch("attention", kernel, ceil_divide(rows * parameters.half_groups, kThreads), kThreads, 0, stream, parameters);
}

}  // namespace

void rotate_queries_and_keys(const AttentionArgs& args, CudaStream stream) {
  // Side by side in a packed projection they are one.
  const std::int64_t q_bytes =
      std::int64_t{args.heads} * args.head_dim * static_cast<std::int64_t>(size_of(args.dtype));
  const bool are_neighbours = static_cast<const std::byte*>(args.q.data) + q_bytes == args.k.data &&
                              args.q.row_stride == args.k.row_stride && args.q.batch_stride == args.k.batch_stride;
  if (are_neighbours) return rotate(args, args.q, 2 * args.heads, stream);
  rotate(args, args.q, args.heads, stream);
  rotate(args, args.k, args.heads, stream);
}

}  // namespace vistazo::cuda
