#pragma once

#include <vistazo/detector.h>

#include <memory>

#include "engine/ops.h"
#include "engine/weight_store.h"

namespace vistazo {

// What runs a model: where its weights live, and the Ops that work on them.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual WeightStore& weights() = 0;
  // Working memory of `scratch_bytes` with its Ops: one forward pass at a time. Several may run at once on one Backend.
  // Throws Error{device} where there is not so much memory.
  virtual std::unique_ptr<Ops> make_ops(std::size_t scratch_bytes) = 0;

  virtual Device device() const = 0;
  virtual Precision precision() const = 0;  // f32, f16 or bf16
  virtual DeviceMemory memory() const = 0;

  // Around everything that a thread does with the backend's weights or Ops.
  class Turn {
   public:
    explicit Turn(Backend& backend) : backend_(backend), before_(backend.enter()) {}
    ~Turn() { backend_.leave(before_); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Backend& backend_;
    int before_;
  };

 private:
  // Makes the backend's device the thread's, and gives back what leave() needs to undo that.
  virtual int enter() { return 0; }
  virtual void leave(int) {}
};

// threads: 0 for all cores. Throws Error{unsupported} for a precision that the processor cannot multiply in.
std::unique_ptr<Backend> make_cpu_backend(Precision precision, int threads);

// gpu: an index. threads: that copy images, 0 for all cores; a few are taken. Throws Error{device} where there is no
// such GPU, or none that can be used.
std::unique_ptr<Backend> make_cuda_backend(Precision precision, int gpu, int threads);

// The backend that the options name. Throws Error{device} or Error{unsupported}, saying what this build can do.
std::unique_ptr<Backend> make_backend(const Options& options);

}  // namespace vistazo
