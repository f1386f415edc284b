#pragma once

#include <list>
#include <memory>
#include <vector>

#include "engine/cuda_device.h"
#include "engine/ops.h"
#include "kernels/base/device_buffer.h"

namespace vistazo {

// CUDA graphs of whole passes. One launch replays what took hundreds, at the addresses that the pass used: it belongs
// to one Ops, whose arena stays where it is.
class GraphCache {
 public:
  using Constants = std::vector<std::shared_ptr<const DeviceBuffer>>;

  struct Pass {
    PassKey key;
    std::size_t arena_used = 0;  // where the pass began
    OwnedGraphExec graph{};      // null before it is recorded
    Ops::PassResults results{};  // of the recorded pass
    Constants constants{};       // that the graph reads: they live as long as it does
  };

  // The pass of that key, made if it is not there, in which case the one unused for longest makes room.
  Pass& find(const PassKey& key, std::size_t arena_used, bool& is_new);

 private:
  // Bounds what graphs hold. A stream of more sizes than these runs its passes without one.
  static constexpr std::size_t kMaxPasses = 16;
  std::list<Pass> passes_;  // the latest in front
};

// What work() launches on the stream, as a graph; nothing runs yet. If work throws, the stream is as before.
OwnedGraphExec record_graph(cudaStream_t stream, const std::function<void()>& work);

}  // namespace vistazo
