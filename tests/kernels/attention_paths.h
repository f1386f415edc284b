#pragma once

#include <doctest/doctest.h>
#include <fmt/core.h>
#include <hwy/targets.h>

#include <cmath>
#include <functional>
#include <string>

#include "kernels/attention.h"
#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/attention.h"
#include "tests/support/buffers.h"

// Every way in which attention runs on this processor.
namespace vistazo::testing {

using cpu::AttentionPath;

struct NamedPath {
  const char* name;
  AttentionPath path;
};
inline constexpr NamedPath kPaths[] = {
    {"amx", AttentionPath::amx}, {"avx512_bf16", AttentionPath::avx512_bf16}, {"simd", AttentionPath::simd}};

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

// Runs with a scratch that is guarded on both sides.
inline void run(AttentionArgs args, AttentionPath path, int threads = 2) {
  const ThreadPool pool(threads);
  GuardedBuffer scratch(cpu::attention_scratch_bytes(args, pool), DType::u8);
  args.scratch = scratch.data();
  cpu::attention(args, pool, path);
  CHECK(scratch.is_guard_intact());
}

inline bool is_available(AttentionPath path, DType dtype) {
  float value[4] = {};
  AttentionArgs args = dense_args({1, 1, 1, 1, 1, 1}, value, value + 1, value + 2, value + 3, dtype);
  const ThreadPool pool(1);
  AlignedBuffer scratch(cpu::attention_scratch_bytes(args, pool));
  args.scratch = scratch.data();
  try {
    cpu::attention(args, pool, path);
  } catch (const Error& error) {
    CHECK(error.code == Error::Code::unsupported);
    return false;
  }
  return true;
}

// Calls body(name, path) for every code path of this machine; the portable one for every vector unit.
inline void for_each_path(DType dtype, const std::function<void(const std::string&, AttentionPath)>& body) {
  for (const auto& [name, path] : kPaths) {
    if (!is_available(path, dtype)) continue;
    if (path != AttentionPath::simd) {
      body(name, path);
      continue;
    }
    for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
      hwy::SetSupportedTargetsForTest(target);
      body(fmt::format("{} {}", name, hwy::TargetName(target)), path);
    }
    hwy::SetSupportedTargetsForTest(0);
  }
}

}  // namespace vistazo::testing
