// Multi-scale deformable attention on CUDA: a thread owns a few adjacent channels of one head of one query. The threads
// of a head work out its samples alike: their loads are broadcasts, and the arithmetic is less than the corners'.
// A corner outside the map is not loaded, so that nothing beyond the map is touched and a NaN at the border of the map
// does not reach a sample that misses it. Positions are the CPU's to the bit.
//
// Limited by the latency of two dependent loads (offsets, then corners) for one image, by the second-level cache for
// many: a corner of a head is one sector of 32 bytes for 16 channels of 16 bits.
#include "kernels/base/error.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/deformable_attention.h"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBlocks = 6;  // on a multiprocessor: 80 registers a thread, so that 8.0 does not spill either

struct DeformableAttentionLaunch {
  DeformableAttentionArgs args;
  int head_groups, samples;
  std::int64_t rows, area;  // queries of the batch; rows of value of one image
};

struct Level {
  std::int64_t first_row;
  int height, width;
};

// sums += weight * the bilinear sample of `value` (the level's first row, this thread's channels) at a position.
// Compares run on floats before any conversion to integers, and are false for NaN, so that a position far out or not a
// number has no corner inside.
template <typename T, int kCount>
__device__ void add_sample(float (&sums)[kCount], const T* value, std::int64_t stride, const Level& level, float x,
                           float y, float weight) {
  const float left = floorf(x), top = floorf(y);
  const float right_share = x - left, bottom_share = y - top;
  const auto width = static_cast<float>(level.width), height = static_cast<float>(level.height);
#pragma unroll
  for (int corner = 0; corner < 4; ++corner) {
    const float corner_x = corner % 2 == 0 ? left : left + 1.0f, corner_y = corner < 2 ? top : top + 1.0f;
    const float x_share = corner % 2 == 0 ? 1.0f - right_share : right_share;
    const float y_share = corner < 2 ? 1.0f - bottom_share : bottom_share;
    if (!(corner_x >= 0.0f && corner_x < width && corner_y >= 0.0f && corner_y < height)) continue;
    float corner_values[kCount];
    load_group(corner_values, value + (static_cast<int>(corner_y) * level.width + static_cast<int>(corner_x)) * stride);
    const float corner_weight = weight * (x_share * y_share);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i] += corner_weight * corner_values[i];
  }
}

// sums += weight * the cell of `value` at floor(x), floor(y), or the nearest of the map; NaN is 0.
template <typename T, int kCount>
__device__ void add_nearest(float (&sums)[kCount], const T* value, std::int64_t stride, const Level& level, float x,
                            float y, float weight) {
  const auto clamp = [](float position, int size) {
    return static_cast<int>(fminf(floorf(position > 0.0f ? position : 0.0f), static_cast<float>(size - 1)));
  };
  float cell[kCount];
  load_group(cell, value + (clamp(y, level.height) * level.width + clamp(x, level.width)) * stride);
#pragma unroll
  for (int i = 0; i < kCount; ++i) sums[i] += weight * cell[i];
}

template <typename T, int kCount, bool kTakesNearest>
__global__ void __launch_bounds__(kThreads, kBlocks)
    deformable_attention_kernel(const __grid_constant__ DeformableAttentionLaunch launch) {
  dependent_launch();
  const DeformableAttentionArgs& args = launch.args;
  const auto [head_row, group] = divide(thread_of_grid<kThreads>(), launch.head_groups);
  const auto [row, head] = divide(head_row, args.heads);
  if (row >= launch.rows) return;
  const std::int64_t batch = divide(row, args.queries).quotient;
  const int samples = launch.samples;
  const float* offsets = args.offset_logits + row * 3 * args.heads * samples;
  const float* logits = offsets + (2 * args.heads + head) * samples;
  offsets += 2 * head * samples;
  float reference[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) reference[i] = args.reference[row * 4 + i];
  const int channel = head * args.head_dim + group * kCount;
  const T* value = static_cast<const T*>(args.value) + batch * launch.area * args.value_row_stride + channel;

  float largest = logits[0];
  for (int i = 1; i < samples; ++i) largest = fmaxf(largest, logits[i]);
  constexpr float kShift = kTakesNearest ? 0.5f : -0.5f;  // a cell of the map to its centre is half a cell
  float sums[kCount] = {}, sum = 0.0f;
  Level level{};
  int sample = 0;
  for (int l = 0; l < args.levels; ++l) {
    level.height = args.level_height[l];
    level.width = args.level_width[l];
    const T* map = value + level.first_row * args.value_row_stride;
    const auto points = static_cast<float>(args.level_points[l]);
    const float step_x = reference[2] * 0.5f / points, step_y = reference[3] * 0.5f / points;
#pragma unroll 2
    for (int point = 0; point < args.level_points[l]; ++point, ++sample) {
      const float x = fmaf(fmaf(offsets[2 * sample], step_x, reference[0]), static_cast<float>(level.width), kShift);
      const float y =
          fmaf(fmaf(offsets[2 * sample + 1], step_y, reference[1]), static_cast<float>(level.height), kShift);
      const float weight = expf(logits[sample] - largest);
      sum += weight;  // NaN where a logit is NaN or +infinity, or all are -infinity
      if constexpr (kTakesNearest) {
        add_nearest(sums, map, args.value_row_stride, level, x, y, weight);
      } else {
        add_sample(sums, map, args.value_row_stride, level, x, y, weight);
      }
    }
    level.first_row += level.height * level.width;
  }
  const float scale = 1.0f / sum;
#pragma unroll
  for (int i = 0; i < kCount; ++i) sums[i] *= scale;
  store_group(static_cast<T*>(args.out) + row * args.heads * args.head_dim + channel, sums);
}

template <typename T, bool kTakesNearest>
void choose_count(DeformableAttentionLaunch& parameters, CudaStream stream) {
  const DeformableAttentionArgs& args = parameters.args;
  const auto start = [&](void (*kernel)(DeformableAttentionLaunch), int count) {
    parameters.head_groups = args.head_dim / count;
    launch("deformable_attention", kernel, ceil_divide(parameters.rows * args.heads * parameters.head_groups, kThreads),
           kThreads, 0, stream, parameters);
  };
  const auto fits = [&](int count) {
    return args.head_dim % count == 0 && are_groups_aligned(count, args.value, args.value_row_stride, args.dtype) &&
           are_groups_aligned(count, args.out, 0, args.dtype);
  };
  if (fits(4)) return start(deformable_attention_kernel<T, 4, kTakesNearest>, 4);
  if (fits(2)) return start(deformable_attention_kernel<T, 2, kTakesNearest>, 2);
  start(deformable_attention_kernel<T, 1, kTakesNearest>, 1);
}

template <typename T>
void choose_sampling(DeformableAttentionLaunch& parameters, CudaStream stream) {
  if (parameters.args.takes_nearest) return choose_count<T, true>(parameters, stream);
  choose_count<T, false>(parameters, stream);
}

void check(const DeformableAttentionArgs& args) {
  constexpr int kMaxLevels = DeformableAttentionArgs::kMaxLevels;
  if (args.batch < 0 || args.queries < 1 || args.heads < 1 || args.head_dim < 1 || args.levels < 1 ||
      args.levels > kMaxLevels || args.value_row_stride < std::int64_t{args.heads} * args.head_dim) {
    fail(Error::Code::argument,
         "deformable_attention: batch {}, queries {}, heads {}, head_dim {}, levels {} (at most {}), "
         "value_row_stride {}",
         args.batch, args.queries, args.heads, args.head_dim, args.levels, kMaxLevels, args.value_row_stride);
  }
  for (int level = 0; level < args.levels; ++level) {
    const std::int64_t height = args.level_height[level], width = args.level_width[level];
    if (height < 1 || width < 1 || height * width >= 1 << 24) {
      fail(Error::Code::argument, "deformable_attention: level {} is {} x {}; 1 .. 2^24 - 1 positions are wanted",
           level, height, width);
    }
    if (args.level_points[level] < 1) {
      fail(Error::Code::argument, "deformable_attention: level {} has {} points; at least 1 is wanted", level,
           args.level_points[level]);
    }
  }
}

}  // namespace

void deformable_attention(const DeformableAttentionArgs& args, CudaStream stream) {
  check(args);
  if (args.batch == 0) return;
  DeformableAttentionLaunch parameters{};
  parameters.args = args;
  parameters.samples = args.head_samples();
  parameters.rows = std::int64_t{args.batch} * args.queries;
  for (int level = 0; level < args.levels; ++level) {
    parameters.area += std::int64_t{args.level_height[level]} * args.level_width[level];
  }
  switch (args.dtype) {
    case DType::f32:
      return choose_sampling<float>(parameters, stream);
    case DType::f16:
      return choose_sampling<__half>(parameters, stream);
    case DType::bf16:
      return choose_sampling<__nv_bfloat16>(parameters, stream);
    default:
      fail(Error::Code::unsupported, "deformable_attention: values of {}; f32, f16 or bf16 are wanted",
           name_of(args.dtype));
  }
}

}  // namespace vistazo::cuda
