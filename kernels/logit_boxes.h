#pragma once

#include <cstdint>

#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// y = sigmoid(delta + logit(reference)): the iterative box refinement of Deformable DETR (Zhu et al. 2021,
// arXiv:2010.04159, section 4.2). logit(p) = log(max(p, 1e-5) / max(1 - p, 1e-5)) for p clipped to [0, 1], as the DETRs
// compute it. f32.
struct LogitBoxesArgs {
  const float* reference;  // (reference_rows, 4); row r uses reference[r % reference_rows]
  const float* delta;      // (rows, 4)
  float* y;                // (rows, 4); may equal delta, or reference where it has as many rows
  std::int64_t rows, reference_rows;
  bool reference_is_logits;  // reference holds logits already: they are not clipped and may be infinite
};

namespace cpu {
void logit_boxes(const LogitBoxesArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void logit_boxes(const LogitBoxesArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
