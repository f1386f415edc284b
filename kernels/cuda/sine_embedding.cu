// A thread owns a box and a frequency: four sines and four cosines. The divisors come from the host, in the launch's
// parameters, so that they are the CPU's; lanes that read different ones wait for each other, which four angles share.
// Limited by the launch for a few hundred boxes, by arithmetic for thousands.
//
// Angles follow the original's arithmetic in f32, (2 pi v) / t^(2i/dim). Sine and cosine are taken of the angle in half
// turns, reduced in double: sincosf() would bring a path for large angles that needs local memory.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/base/error.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/sine_embedding.h"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBlockPairs = 256;  // divisors of a launch, 1 KB of its parameters; no model has more

struct SineEmbeddingLaunch {
  SineEmbeddingArgs args;
  int first_pair, pairs;
  float divisors[kBlockPairs];
};

__global__ void __launch_bounds__(kThreads) sine_embedding_kernel(const __grid_constant__ SineEmbeddingLaunch launch) {
  dependent_launch();
  const SineEmbeddingArgs& args = launch.args;
  const auto [row, pair] = divide(thread_of_grid<kThreads>(), launch.pairs);
  if (row >= args.rows) return;
  const float divisor = launch.divisors[pair];
  const std::int64_t first = row * 4 * args.dim + 2 * (launch.first_pair + pair);
#pragma unroll
  for (int part = 0; part < 4; ++part) {
    const float value = args.boxes[row * 4 + (part < 2 ? 1 - part : part)];  // y, x, w, h
    const float angle = value * (2.0f * std::numbers::pi_v<float>) / divisor;
    double half_turns = angle * std::numbers::inv_pi;
    half_turns -= 2.0 * rint(half_turns * 0.5);
    float values[2];
    sincospif(static_cast<float>(half_turns), &values[0], &values[1]);
    store_group(args.y, first + part * args.dim, args.y_dtype, values);
  }
}

}  // namespace

void sine_embedding(const SineEmbeddingArgs& args, CudaStream stream) {
  if (args.rows < 0 || args.dim < 2 || args.dim % 2 != 0 || !(args.temperature > 0.0f)) {
    fail(Error::Code::argument, "sine_embedding: rows {}, dim {} (even is wanted), temperature {}", args.rows, args.dim,
         args.temperature);
  }
  if (!is_float(args.y_dtype) || !are_groups_aligned(2, args.y, 0, args.y_dtype)) {
    fail(Error::Code::unsupported, "sine_embedding: output of {} at {}; f32, f16 or bf16, aligned to two, is wanted",
         name_of(args.y_dtype), args.y);
  }
  if (args.rows == 0) return;
  SineEmbeddingLaunch parameters{};
  parameters.args = args;
  for (int first = 0; first < args.dim / 2; first += kBlockPairs) {
    parameters.first_pair = first;
    parameters.pairs = std::min(kBlockPairs, args.dim / 2 - first);
    for (int i = 0; i < parameters.pairs; ++i) {
      parameters.divisors[i] =
          static_cast<float>(std::pow(static_cast<double>(args.temperature), 2.0 * (first + i) / args.dim));
    }
    launch("sine_embedding", sine_embedding_kernel, ceil_divide(args.rows * parameters.pairs, kThreads), kThreads, 0,
           stream, parameters);
  }
}

}  // namespace vistazo::cuda
