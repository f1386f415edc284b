// Elementwise work on boxes: a logarithm and an exponential a coordinate, of a few hundred boxes. A task is a chunk of
// rows.
#include "kernels/logit_boxes.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"

namespace vistazo::cpu {

static float logit(float p) {
  constexpr float kSmallest = 1e-5f;
  const float clipped = std::clamp(p, 0.0f, 1.0f);
  return std::log(std::max(clipped, kSmallest) / std::max(1.0f - clipped, kSmallest));
}

void logit_boxes(const LogitBoxesArgs& args, const ThreadPool& pool) {
  if (args.rows < 0 || args.reference_rows < 1) {
    fail(Error::Code::argument, "logit_boxes: rows {}, reference_rows {}", args.rows, args.reference_rows);
  }
  constexpr std::int64_t kChunk = 256;  // rows of a task: some 10 us
  pool.for_each((args.rows + kChunk - 1) / kChunk, [&](std::int64_t chunk, int) {
    for (std::int64_t row = chunk * kChunk; row < std::min(args.rows, (chunk + 1) * kChunk); ++row) {
      const float* reference = args.reference + row % args.reference_rows * 4;
      for (int i = 0; i < 4; ++i) {
        const float start = args.reference_is_logits ? reference[i] : logit(reference[i]);
        args.y[row * 4 + i] = 1.0f / (1.0f + std::exp(-(args.delta[row * 4 + i] + start)));
      }
    }
  });
}

}  // namespace vistazo::cpu
