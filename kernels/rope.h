#pragma once

#include "kernels/base/error.h"

namespace vistazo {

// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) of attention's q and k while they are read, pairing
// element i of a head with i + D/2, where D is head_dim, an even number:
//   x[i] = x[i] cos - x[i + D/2] sin,  x[i + D/2] = x[i + D/2] cos + x[i] sin,  cos and sin of angle[token][i], i <
//   D/2.
// In f32, the second product and the addition fused where the processor can, rounded to the dtype of q and k: the
// result is that of attention to tensors that were rotated before.
struct AttentionRope {
  // (tokens - prefix, D): a token's cosines, then its sines, D/2 of each; on CUDA best at a multiple of 16 bytes. Null:
  // nothing is rotated.
  const float* table = nullptr;
  int prefix = 0;  // tokens at the start that stay as they are: class and register tokens
  // A promise about the table, or 0: the tokens behind the prefix are the rows of a grid so wide, D is a multiple of 4,
  // angles i < D/4 are the same for all tokens of a row and the others for all of a column, as DINOv3's are. On CUDA
  // the entries of the first column and of the first row then stand for all, which a first-level cache holds.
  int width = 0;
};

// Throws Error{argument}.
inline void check_rope(const AttentionRope& rope, int queries, int keys, int head_dim) {
  if (rope.table == nullptr) return;
  const auto refuse = [&](const char* reason) {
    fail(Error::Code::argument, "attention: rope with {} queries, {} keys, head_dim {}, prefix {}, width {}: {}",
         queries, keys, head_dim, rope.prefix, rope.width, reason);
  };
  if (queries != keys) refuse("queries and keys must be the same tokens");
  if (head_dim % 2 != 0) refuse("head_dim must be even");
  if (rope.prefix < 0 || rope.prefix > keys) refuse("prefix must be 0 to the number of tokens");
  if (rope.width < 0) refuse("width must not be negative");
  if (rope.width > 0 && head_dim % 4 != 0) refuse("a grid needs a head_dim that is a multiple of 4");
  if (rope.width > 0 && (keys - rope.prefix) % rope.width != 0) refuse("tokens behind the prefix must be whole rows");
}

}  // namespace vistazo
