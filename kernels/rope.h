#pragma once

#include "kernels/base/error.h"

namespace vistazo {

// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) of attention's q and k before they are used, pairing
// element i of a head with i + D/2, where D is head_dim, an even number:
//   x[i] = x[i] cos - x[i + D/2] sin,  x[i + D/2] = x[i + D/2] cos + x[i] sin,  cos and sin of angle[token][i], i <
//   D/2.
// In f32, the second product and the addition fused where the processor can, rounded to the dtype of q and k: the
// result is that of attention to tensors that were rotated before. On the CPU rows are rotated as they are packed; on
// CUDA in place, so that q and k hold what they have become.
struct AttentionRope {
  // (tokens - prefix, D): a token's cosines, then its sines, D/2 of each. Null:
  // nothing is rotated.
  const float* table = nullptr;
  int prefix = 0;  // tokens at the start that stay as they are: class and register tokens
};

// Throws Error{argument}.
inline void check_rope(const AttentionRope& rope, int queries, int keys, int head_dim) {
  if (rope.table == nullptr) return;
  const auto refuse = [&](const char* reason) {
    fail(Error::Code::argument, "attention: rope with {} queries, {} keys, head_dim {}, prefix {}: {}", queries, keys,
         head_dim, rope.prefix, reason);
  };
  if (queries != keys) refuse("queries and keys must be the same tokens");
  if (head_dim % 2 != 0) refuse("head_dim must be even");
  if (rope.prefix < 0 || rope.prefix > keys) refuse("prefix must be 0 to the number of tokens");
}

}  // namespace vistazo
