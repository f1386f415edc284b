#pragma once

#include "engine/weight_cursor.h"

namespace vistazo {

// Self-attention whose queries and keys see content + position and whose values see content alone: two products.
struct SelfAttentionInputs {
  Linear query_key;  // dim -> 2 * dim
  Linear value;
};

// Read as q_proj, k_proj and v_proj, or as PyTorch's in_proj.
SelfAttentionInputs read_self_attention_inputs(const WeightCursor& w, int dim);

}  // namespace vistazo
