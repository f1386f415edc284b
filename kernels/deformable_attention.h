#pragma once

#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/stream.h"

namespace vistazo {

class ThreadPool;

// Multi-scale deformable attention after Zhu et al. 2021 (arXiv:2010.04159), section 4.1, with box references:
//   out[b][q][h] = sum_{l,p} softmax_{l,p}(logit[b][q][h])[l][p] * bilinear(value_l[b][h], xy)
//   xy = centre + offset[b][q][h][l][p] / points_l * size / 2, in units of the image, for a box (cx, cy, w, h)
// Bilinear sampling with zeros outside the map; a map of width W has pixel centres at (i + 1/2) / W (PyTorch's
// align_corners=False). Coordinates, weights and sums are f32. With takes_nearest (RT-DETRv2's discrete sampling,
// arXiv:2407.17140) a sample is the cell floor(W * x + 1/2), floor(H * y + 1/2) instead, or the nearest of the map.
struct DeformableAttentionArgs {
  static constexpr int kMaxLevels = 4;

  const void* value;       // (B, sum of level areas, heads * head_dim): rows at value_row_stride elements
  const float* reference;  // (B, queries, 4): cx, cy, w, h in 0..1
  // (B, queries, row): heads * head_samples() offsets (x, y), then as many logits; a head's samples level by level.
  const float* offset_logits;
  void* out;  // (B, queries, heads * head_dim), dense
  int batch, queries, heads, head_dim, levels;
  int level_points[kMaxLevels];                           // samples that a head takes in each level, at least 1
  int level_height[kMaxLevels], level_width[kMaxLevels];  // value holds the levels one after the other, row-major
  std::int64_t value_row_stride;
  DType dtype;  // of value and out: f32 or bf16; on CUDA f16 too
  bool takes_nearest = false;

  int head_samples() const {
    int samples = 0;
    for (int level = 0; level < levels; ++level) samples += level_points[level];
    return samples;
  }
};

namespace cpu {
void deformable_attention(const DeformableAttentionArgs& args, const ThreadPool& pool);
}

namespace cuda {
// On the stream; pointers are to device memory.
void deformable_attention(const DeformableAttentionArgs& args, CudaStream stream);
}  // namespace cuda

}  // namespace vistazo
