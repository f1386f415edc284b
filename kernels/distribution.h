#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

// Boxes as distributions over distances of their four edges: fine-grained distribution refinement of D-FINE (Peng et
// al. 2024, arXiv:2410.13842, section 3.2). p[r][e] = softmax over the bins of logits[r][e], for the edges e = left,
// top, right, bottom. All in f32.
namespace vistazo {

class ThreadPool;

struct EdgeLogits {
  static constexpr int kMaxBins = 256;

  const float* logits;  // (rows, 4, bins), dense
  std::int64_t rows;
  int bins;  // 1 .. kMaxBins
};

// Each edge moves away from the centre of the reference (cx, cy, w, h) by
//   (1/2 + distance / scale) * size of the reference along it, distance[r][e] = sum_n p[r][e][n] * weights[n];
// y is the box between the edges as (cx, cy, w, h).
struct EdgeBoxesArgs {
  EdgeLogits edges;
  const float* weights;    // (bins): a bin's distance
  const float* reference;  // (rows, 4)
  float* y;                // (rows, 4); may equal reference
  float scale;             // positive
};

// y[r][e] = the k largest of p[r][e], largest first, and behind them their mean.
struct EdgePeaksArgs {
  EdgeLogits edges;
  void* y;        // (rows, 4, k + 1), dense
  int k;          // 1 .. bins
  DType y_dtype;  // f32 or bf16; on CUDA f16 too
};

namespace cpu {
void edge_boxes(const EdgeBoxesArgs& args, const ThreadPool& pool);
void edge_peaks(const EdgePeaksArgs& args, const ThreadPool& pool);
}  // namespace cpu

namespace cuda {
// On the stream; pointers are to device memory.
void edge_boxes(const EdgeBoxesArgs& args, CudaStream stream);
void edge_peaks(const EdgePeaksArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
