#include "engine/graph_cache.h"

#include <algorithm>
#include <utility>

namespace vistazo {

GraphCache::Pass& GraphCache::find(const PassKey& key, std::size_t arena_used, bool& is_new) {
  const auto known =
      std::ranges::find_if(passes_, [&](const Pass& pass) { return pass.key == key && pass.arena_used == arena_used; });
  is_new = known == passes_.end();
  if (is_new) {
    if (passes_.size() >= kMaxPasses) passes_.pop_back();
    passes_.push_front({.key = key, .arena_used = arena_used});
  } else {
    passes_.splice(passes_.begin(), passes_, known);
  }
  return passes_.front();
}

OwnedGraphExec record_graph(cudaStream_t stream, const std::function<void()>& work) {
  // Relaxed: other threads may allocate meanwhile, and so may work(), for constants.
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  cudaGraph_t captured = nullptr;
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(stream, &captured);
    if (captured) cudaGraphDestroy(captured);
    cudaGetLastError();
    throw;
  }
  check_cuda(cudaStreamEndCapture(stream, &captured), "cudaStreamEndCapture");
  const OwnedGraph graph(captured);
  cudaGraphExec_t executable = nullptr;
  check_cuda(cudaGraphInstantiate(&executable, graph.get(), 0), "cudaGraphInstantiate");
  return OwnedGraphExec(executable);
}

}  // namespace vistazo
