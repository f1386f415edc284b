#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// y = (cx + dx * w, cy + dy * h, w * exp(dw), h * exp(dh)) for a reference (cx, cy, w, h) and a delta (dx, dy, dw, dh).
// The box parametrisation of Faster R-CNN (arXiv:1506.01497, eq. 2), inverted. f32.
struct RefineBoxesArgs {
  const float* reference;  // (rows, 4)
  const float* delta;      // (delta_rows, 4); row r uses delta[r % delta_rows]
  float* y;                // (rows, 4); may equal reference
  std::int64_t rows, delta_rows;
};

// score[b][i] = max over classes of logits[b][i], or -infinity where proposals[i] has no width (an invalid proposal).
// A NaN logit is skipped. Without proposals, all are valid.
struct ProposalScoresArgs {
  const float* logits;     // (B, rows, classes)
  const float* proposals;  // (rows, 4), or null
  float* scores;           // (B, rows)
  int batch, rows, classes;
};

namespace cpu {
void refine_boxes(const RefineBoxesArgs& args, const ThreadPool& pool);
void proposal_scores(const ProposalScoresArgs& args, const ThreadPool& pool);
}  // namespace cpu

namespace cuda {
// On the stream; pointers are to device memory.
void refine_boxes(const RefineBoxesArgs& args, CudaStream stream);
void proposal_scores(const ProposalScoresArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
