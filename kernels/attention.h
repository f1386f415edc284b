#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/batch_plan.h"
#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"
#include "kernels/rope.h"

namespace vistazo {

class ThreadPool;

// Rows of all heads: the row of token t, head h of batch entry b starts at data + b * batch_stride + t * row_stride +
// h * dim elements, where dim is head_dim (q, k) or value_dim (v, out). So a packed (B, N, 3, H, D) projection and
// separate tensors are described alike.
struct AttentionOperand {
  const void* data;
  std::int64_t batch_stride;
  std::int64_t row_stride;
};

// out[b][i][h] = sum_j p[i][j] v[b][j][h], p[i] = softmax_j(scale * q[b][i][h] . k[b][j][h]).
// Exact, tiled with the online softmax of Milakov & Gimelshein 2018 (arXiv:1805.02867) as in FlashAttention (Dao et al.
// 2022, arXiv:2205.14135): scratch does not depend on queries or keys. Scores, softmax and sums are f32.
struct AttentionArgs {
  AttentionOperand q, k, v;
  void* out;
  std::int64_t out_batch_stride, out_row_stride;
  int batch;  // batch entries, or windows: each attends to itself only
  int heads;
  int queries;    // any positive count
  int keys;       // any positive count
  int head_dim;   // of q and k, 1..128
  int value_dim;  // of v and out, 1..128
  float scale;    // usually 1 / sqrt(head_dim)
  DType dtype;    // f32 or bf16, on CUDA f16 too; of q, k, v and out
  void* scratch;  // cpu::attention_scratch_bytes(), aligned to 64 bytes; CUDA needs none
  AttentionRope rope{};  // of q and k, which are of the same tokens then
};

namespace cpu {

// Code paths, best first. `automatic` takes the best that the processor and dtype allow; tests force the others.
enum class AttentionPath { automatic, amx, avx512_bf16, simd };

std::size_t attention_scratch_bytes(const AttentionArgs& args, const ThreadPool& pool);
// Throws Error{unsupported} for a dtype, dimension or path that it cannot run, Error{argument} for a rope that does not
// fit.
void attention(const AttentionArgs& args, const ThreadPool& pool, AttentionPath path = AttentionPath::automatic);

}  // namespace cpu

namespace cuda {

// Code paths of f16 and bf16. `automatic` takes sm90 on compute capability 9.0 where the layout permits; tests force
// the others.
enum class AttentionPath { automatic, sm90, sm80 };

// On the stream; pointers are to device memory. f16 and bf16 need compute capability 8.0. Throws Error{unsupported} for
// a dtype, dimension or path that it cannot run, Error{argument} for a rope that does not fit.
void attention(const AttentionArgs& args, CudaStream stream, AttentionPath path = AttentionPath::automatic,
               const BatchPlan& plan = {});

}  // namespace cuda

}  // namespace vistazo
