#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/attention.h"
#include "tests/reference/attention.h"

namespace vistazo::testing {

// Dense operands of a shape; without scratch.
inline AttentionArgs dense_args(const reference::AttentionShape& s, const void* q, const void* k, const void* v,
                                void* out, DType dtype) {
  const auto operand = [&](const void* data, int tokens, int dim) {
    const std::int64_t row = std::int64_t{s.heads} * dim;
    return AttentionOperand{data, tokens * row, row};
  };
  AttentionArgs args{};
  args.q = operand(q, s.queries, s.head_dim);
  args.k = operand(k, s.keys, s.head_dim);
  args.v = operand(v, s.keys, s.value_dim);
  args.out = out;
  args.out_row_stride = std::int64_t{s.heads} * s.value_dim;
  args.out_batch_stride = s.queries * args.out_row_stride;
  args.batch = s.batch;
  args.heads = s.heads;
  args.queries = s.queries;
  args.keys = s.keys;
  args.head_dim = s.head_dim;
  args.value_dim = s.value_dim;
  args.scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  args.dtype = dtype;
  return args;
}

}  // namespace vistazo::testing
