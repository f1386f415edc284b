#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/attention.h"
#include "kernels/base/check_cuda.h"
#include "kernels/cuda/attention/tiles.h"
#include "tests/support/attention_args.h"

// Every way in which attention runs on this device.
namespace vistazo::testing {

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
  if (std::max(args.head_dim, args.value_dim) > 64) return {};
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
  for (const int consumers : {1, 2, 3, 4}) {
    for (const int split : {1, 2, 3, 4}) {
      if (consumers == 4 && split > 1) continue;  // they share no item
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
