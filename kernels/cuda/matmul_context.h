#pragma once

#include <cstdint>

#include "kernels/base/batch_plan.h"
#include "kernels/base/stream.h"

namespace vistazo::cuda {

// Which kernel runs a product. Tests and benches force one; it must suit the device and the operands.
enum class GemmPath : std::uint8_t {
  automatic,
  simt,     // any dtype, alignment and device; f32 always takes it, so that no product is rounded to TF32
  sm80,     // f16, bf16: mma.sync
  sm90,     // f16, bf16 on compute capability 9.0: wgmma
  shallow,  // convolutions of 3 x 3 over few channels, f16, bf16
};

// What products and convolutions on a stream need beside their operands. The caller's: several streams share packed
// weights, each with a context of its own. Runs allocate nothing, do not wait for the device and can be captured.
struct MatmulContext {
  CudaStream stream = nullptr;
  GemmPath path = GemmPath::automatic;
  // For tests and benches: forces one of sm90's kSm90Tiles tile shapes or shallow's kShallowVariants, and a number of
  // multiprocessors.
  int tile = -1, multiprocessors = 0;
  BatchPlan plan{};
};

inline constexpr int kSm90Tiles = 21;
inline constexpr int kShallowVariants = 4;  // kernels/cuda/shallow/shallow.h

}  // namespace vistazo::cuda
