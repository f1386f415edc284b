#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/attention.h"
#include "kernels/base/check_cuda.h"
#include "kernels/cuda/attention/tiles.h"
#include "tests/reference/attention.h"

// Every way in which attention runs on this device.
namespace vistazo::testing {

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

// A way to run attention, by name.
struct Path {
  std::string name;
  std::function<void(const AttentionArgs&)> run;
};

inline bool is_hopper() {
  int device = 0, major = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  return major == 9;
}

// sm90_pair.cu, where it can run.
inline std::vector<Path> pair_path_of(const AttentionArgs& args) {
  if (args.dtype == DType::f32 || !is_hopper() || !cuda::suits_sm90(cuda::make_attention_launch(args))) return {};
  if (std::max(args.head_dim, args.value_dim) > 64 || args.rope.table != nullptr) return {};
  return {{"sm90, pairs of warpgroups", [](const AttentionArgs& a) {
             cuda::attention_sm90(cuda::make_attention_launch(a), {1, 1, 1, true}, nullptr);
           }}};
}

// All that can run it: the choice of the launcher, the portable kernel, and on 9.0 every division of the work, that of
// sm90.cu on a device that looks smaller than it is, so that blocks get several items.
inline std::vector<Path> paths_of(const AttentionArgs& args) {
  std::vector<Path> paths = {{"automatic", [](const AttentionArgs& a) { cuda::attention(a, nullptr); }}};
  if (args.dtype == DType::f32) return paths;
  paths.push_back({"sm80", [](const AttentionArgs& a) { cuda::attention(a, nullptr, cuda::AttentionPath::sm80); }});
  if (!is_hopper() || !cuda::suits_sm90(cuda::make_attention_launch(args))) return paths;
  for (const int consumers : {1, 2, 3}) {
    for (const int split : {1, 2, 3, 4}) {
      const cuda::Sm90Choice choice{consumers, split, 2 * split};
      paths.push_back(
          {fmt::format("sm90 with {} consumers, split {}", consumers, split), [choice](const AttentionArgs& a) {
             cuda::attention_sm90(cuda::make_attention_launch(a), choice, nullptr);
           }});
    }
  }
  for (Path& path : pair_path_of(args)) paths.push_back(std::move(path));
  return paths;
}

}  // namespace vistazo::testing
