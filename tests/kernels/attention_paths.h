#pragma once

#include <doctest/doctest.h>
#include <fmt/core.h>
#include <hwy/targets.h>

#include <functional>
#include <string>

#include "kernels/attention.h"
#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/support/attention_args.h"
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
