// Elementwise work on boxes. refine_boxes: a thread per box, a few hundred in all, so that the launch is the time.
// proposal_scores: a warp per row of logits; limited by reading them.
#include "kernels/base/error.h"
#include "kernels/boxes.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

struct RefineBoxesLaunch {
  RefineBoxesArgs args;
  bool is_aligned;  // all boxes to 16 bytes
};

__device__ void load_box(float (&box)[4], const float* from, bool is_aligned) {
  if (is_aligned) return load_group(box, from);
#pragma unroll
  for (int i = 0; i < 4; ++i) box[i] = from[i];
}

__global__ void __launch_bounds__(kThreads) refine_boxes_kernel(const __grid_constant__ RefineBoxesLaunch launch) {
  dependent_launch();
  const RefineBoxesArgs& args = launch.args;
  const std::int64_t row = thread_of_grid<kThreads>();
  if (row >= args.rows) return;
  const std::int64_t delta_row = row < args.delta_rows ? row : row % args.delta_rows;
  float box[4], delta[4];  // y may equal the reference: a thread writes only what it alone has read
  load_box(box, args.reference + row * 4, launch.is_aligned);
  load_box(delta, args.delta + delta_row * 4, launch.is_aligned);
  const float refined[4] = {box[0] + delta[0] * box[2], box[1] + delta[1] * box[3], box[2] * expf(delta[2]),
                            box[3] * expf(delta[3])};
  float* y = args.y + row * 4;
  if (launch.is_aligned) return store_group(y, refined);
#pragma unroll
  for (int i = 0; i < 4; ++i) y[i] = refined[i];
}

__global__ void __launch_bounds__(kThreads) proposal_scores_kernel(const __grid_constant__ ProposalScoresArgs args) {
  dependent_launch();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (row >= std::int64_t{args.batch} * args.rows) return;  // the whole warp
  const float* logits = args.logits + row * args.classes;
  float best = -kInfinity;
  for (int i = lane; i < args.classes; i += 32) best = fmaxf(best, logits[i]);  // skips NaN
  best = largest_of_warp(best);
  if (lane != 0) return;
  const bool is_valid =
      args.proposals == nullptr || args.proposals[std::int64_t{divide(row, args.rows).rest} * 4 + 2] > 0.0f;
  args.scores[row] = is_valid ? best : -kInfinity;
}

}  // namespace

void refine_boxes(const RefineBoxesArgs& args, CudaStream stream) {
  if (args.rows < 0 || args.delta_rows < 1) {
    fail(Error::Code::argument, "refine_boxes: rows {}, delta_rows {}", args.rows, args.delta_rows);
  }
  if (args.rows == 0) return;
  const bool is_aligned = are_groups_aligned(4, args.reference, 4, DType::f32) &&
                          are_groups_aligned(4, args.delta, 4, DType::f32) &&
                          are_groups_aligned(4, args.y, 4, DType::f32);
  launch("refine_boxes", refine_boxes_kernel, ceil_divide(args.rows, kThreads), kThreads, 0, stream,
         RefineBoxesLaunch{args, is_aligned});
}

void proposal_scores(const ProposalScoresArgs& args, CudaStream stream) {
  if (args.batch < 0 || args.rows < 1 || args.classes < 1) {
    fail(Error::Code::argument, "proposal_scores: batch {}, rows {}, classes {}", args.batch, args.rows, args.classes);
  }
  if (args.batch == 0) return;
  launch("proposal_scores", proposal_scores_kernel, ceil_divide(std::int64_t{args.batch} * args.rows, kWarps), kThreads,
         0, stream, args);
}

}  // namespace vistazo::cuda
