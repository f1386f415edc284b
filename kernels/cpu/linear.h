#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/base/dtype.h"
#include "kernels/linear.h"

namespace vistazo {

class ThreadPool;

namespace cpu {

// y = activation(x W^T + b), oneDNN's matmul with W packed once, when constructed, for the processor's best kernel.
// Sums are f32. One object may run on several threads at once.
class PackedLinear {
 public:
  // weight (out, in), bias (out) or null, both f32 and only read here. dtype: f32 or bf16, of x and the packed weight.
  // Throws Error{unsupported} if oneDNN cannot run the dtype on this processor.
  PackedLinear(const float* weight, const float* bias, int in, int out, DType dtype);
  ~PackedLinear();
  PackedLinear(PackedLinear&&) noexcept;
  PackedLinear& operator=(PackedLinear&&) noexcept;

  int in() const;
  int out() const;
  std::size_t bytes() const;  // of the packed weight and bias

  // The first call for a number of rows prepares a kernel; later ones reuse it and allocate nothing of ours.
  void run(const LinearArgs& args, const ThreadPool& pool) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cpu
}  // namespace vistazo
