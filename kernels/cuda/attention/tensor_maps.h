#pragma once

#include <cuda.h>

#include "kernels/attention.h"

namespace vistazo::cuda {

// How the copy engine of sm_90 finds q, k and v: dimensions (element of a row, head, token, batch entry), swizzled.
struct AttentionTensorMaps {
  CUtensorMap q, k, v;
};

// Boxes of one head and batch entry: `columns` (16, 32 or 64) of `query_rows` or `key_rows` tokens, zeros outside the
// tensor. Rows must start at multiples of 16 bytes.
AttentionTensorMaps make_tensor_maps(const AttentionArgs& args, int columns, int query_rows, int key_rows);

}  // namespace vistazo::cuda
