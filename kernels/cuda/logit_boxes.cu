// A thread owns one coordinate. Limited by the launch: a few hundred boxes.
#include "kernels/base/error.h"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/logit_boxes.h"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;

// Selects, since fmaxf() would drop a NaN.
__device__ float logit(float p) {
  constexpr float kSmallest = 1e-5f;
  const float clipped = p < 0.0f ? 0.0f : p > 1.0f ? 1.0f : p, rest = 1.0f - clipped;
  return logf((clipped < kSmallest ? kSmallest : clipped) / (rest < kSmallest ? kSmallest : rest));
}

__global__ void __launch_bounds__(kThreads) logit_boxes_kernel(const __grid_constant__ LogitBoxesArgs args) {
  dependent_launch();
  const std::int64_t element = thread_of_grid<kThreads>(), row = element / 4;
  if (row >= args.rows) return;
  const std::int64_t reference_row = row < args.reference_rows ? row : row % args.reference_rows;
  const float reference = args.reference[reference_row * 4 + element % 4];
  const float start = args.reference_is_logits ? reference : logit(reference);
  args.y[element] = 1.0f / (1.0f + expf(-(args.delta[element] + start)));
}

}  // namespace

void logit_boxes(const LogitBoxesArgs& args, CudaStream stream) {
  if (args.rows < 0 || args.reference_rows < 1) {
    fail(Error::Code::argument, "logit_boxes: rows {}, reference_rows {}", args.rows, args.reference_rows);
  }
  if (args.rows == 0) return;
  launch("logit_boxes", logit_boxes_kernel, ceil_divide(args.rows * 4, kThreads), kThreads, 0, stream, args);
}

}  // namespace vistazo::cuda
