// Attention as a C function for other languages: bench_sdpa.py times it beside PyTorch's in one process.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>

#include "kernels/attention.h"
#include "kernels/cuda/attention/tiles.h"

// q, k, v and out (batch, tokens, heads, dim) in device memory, f16 or bf16. is_paired: by pairs of warpgroups on
// compute capability 9.0, dimensions up to 64; else as the launcher chooses. 0, or 1 after printing what went wrong.
extern "C" int vistazo_attention(const void* q, const void* k, const void* v, void* out, int batch, int tokens,
                                 int heads, int dim, int is_f16, int is_paired, vistazo::CudaStream stream) try {
  const std::int64_t row = std::int64_t{heads} * dim, entry = tokens * row;
  const vistazo::AttentionArgs args{.q = {q, entry, row},
                                    .k = {k, entry, row},
                                    .v = {v, entry, row},
                                    .out = out,
                                    .out_batch_stride = entry,
                                    .out_row_stride = row,
                                    .batch = batch,
                                    .heads = heads,
                                    .queries = tokens,
                                    .keys = tokens,
                                    .head_dim = dim,
                                    .value_dim = dim,
                                    .scale = 1.0f / std::sqrt(static_cast<float>(dim)),
                                    .dtype = is_f16 != 0 ? vistazo::DType::f16 : vistazo::DType::bf16,
                                    .scratch = nullptr};
  if (is_paired != 0) {
    vistazo::cuda::attention_sm90_pair(vistazo::cuda::make_attention_launch(args), stream);
  } else {
    vistazo::cuda::attention(args, stream);
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "vistazo_attention: %s\n", error.what());
  return 1;
}
