// Convolutions that are no good matrix products, without tensor cores, in f32 arithmetic.
//
// Depthwise: a thread owns four neighbouring pixels of a line and up to eight channels; neighbouring threads read
// neighbouring channels. Limited by loads from the first-level cache.
//
// Few input channels (an image's): a thread owns two neighbouring pixels and 32 output channels; the weight of those
// channels is in shared memory as f32. Limited by multiply-adds and by loads of the weight: a broadcast load of 16
// bytes feeds eight multiply-adds.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/direct_convolution.h"
#include "kernels/cuda/dynamic_shared.cuh"
#include "kernels/cuda/gemm/epilogue.cuh"
#include "kernels/cuda/launch.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kDepthwisePixels = 4;
constexpr int kStemPixels = 2, kStemColumns = 32;

struct DirectLaunch {
  Gemm gemm;
  int line_groups;     // groups of pixels of a line of y
  int channel_groups;  // groups of channels of a pixel of y
  bool are_groups_stored;
};

// A thread's output: pixels from `column` on of a line, channels from `channel` on.
struct Place {
  int image, line, column, channel;
};

__device__ Place place_of(const DirectLaunch& launch, std::int64_t item, int pixels, int channels) {
  const int line_group = static_cast<int>(item / launch.channel_groups);
  const int line = line_group / launch.line_groups, out_height = launch.gemm.out_height;
  return {line / out_height, line % out_height, line_group % launch.line_groups * pixels,
          static_cast<int>(item % launch.channel_groups) * channels};
}

template <typename Y, int kPixels, int kChannels>
__device__ void finish_pixels(const DirectLaunch& launch, const Place& place, float (&sums)[kPixels][kChannels]) {
  const Gemm& gemm = launch.gemm;
  const int channels = gemm.columns * gemm.groups - place.channel;
  const std::int64_t row =
      (static_cast<std::int64_t>(place.image) * gemm.out_height + place.line) * gemm.out_width + place.column;
  Y* const y = static_cast<Y*>(gemm.y) + row * gemm.y_stride + place.channel;
#pragma unroll
  for (int p = 0; p < kPixels; ++p) {
    const int left = place.column + p < gemm.out_width ? channels : 0;
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      if (gemm.bias != nullptr && c < left) sums[p][c] += gemm.bias[place.channel + c];
    }
    if (gemm.accumulate && left > 0) add_columns(sums[p], y + p * gemm.y_stride, left, launch.are_groups_stored);
  }
  activate_all<Y>(sums, gemm.activation);
#pragma unroll
  for (int p = 0; p < kPixels; ++p) {
    const int left = place.column + p < gemm.out_width ? channels : 0;
    scale_all(gemm, sums[p]);
    if (left > 0) store_columns(y + p * gemm.y_stride, sums[p], left, launch.are_groups_stored);
  }
}

// kChannels: of a thread, in one load of x and one of the weight, which is (tap, channel).
template <typename T, typename Y, int kChannels>
__global__ void __launch_bounds__(kThreads) depthwise_kernel(const __grid_constant__ DirectLaunch launch) {
  dependent_launch();
  const Gemm& gemm = launch.gemm;
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  const Place place = place_of(launch, item, kDepthwisePixels, kChannels);
  if (place.image >= gemm.batch) return;
  const T* const x = static_cast<const T*>(gemm.x) + place.channel +
                     static_cast<std::int64_t>(place.image) * gemm.height * gemm.width * gemm.x_stride;
  const T* weight = static_cast<const T*>(gemm.weight) + place.channel;
  float sums[kDepthwisePixels][kChannels] = {};
  for (int tap_y = 0; tap_y < gemm.kernel_height; ++tap_y) {
    const int line = place.line * gemm.stride - gemm.padding + tap_y;
    const bool is_line_inside = static_cast<unsigned>(line) < static_cast<unsigned>(gemm.height);
    for (int tap_x = 0; tap_x < gemm.kernel_width; ++tap_x, weight += gemm.weight_stride) {
      if (!is_line_inside) continue;
      const auto w = *reinterpret_cast<const Group<T, kChannels>*>(weight);
#pragma unroll
      for (int p = 0; p < kDepthwisePixels; ++p) {
        const int column = (place.column + p) * gemm.stride - gemm.padding + tap_x;
        if (static_cast<unsigned>(column) >= static_cast<unsigned>(gemm.width)) continue;
        const auto pixel = *reinterpret_cast<const Group<T, kChannels>*>(
            x + (static_cast<std::int64_t>(line) * gemm.width + column) * gemm.x_stride);
#pragma unroll
        for (int c = 0; c < kChannels; ++c) sums[p][c] += to_float(pixel.values[c]) * to_float(w.values[c]);
      }
    }
  }
  finish_pixels<Y>(launch, place, sums);
}

// X: of x, float for planes.
template <typename T, typename Y, typename X, bool kIsPlanar>
__global__ void __launch_bounds__(kThreads, 4) stem_kernel(const __grid_constant__ DirectLaunch launch) {
  const Gemm& gemm = launch.gemm;
  float* const weights = reinterpret_cast<float*>(dynamic_shared());  // (depth, kStemColumns)
  // All threads of a block have the same channels: a whole number of blocks has each group of channels.
  const int channel_group = static_cast<int>(blockIdx.x) % launch.channel_groups;
  const std::int64_t group =
      static_cast<std::int64_t>(blockIdx.x) / launch.channel_groups * kThreads + static_cast<int>(threadIdx.x);
  const Place place = place_of(launch, group * launch.channel_groups + channel_group, kStemPixels, kStemColumns);
  for (int i = static_cast<int>(threadIdx.x); i < gemm.depth * kStemColumns; i += kThreads) {
    const int k = i / kStemColumns, column = place.channel + i % kStemColumns;
    const bool is_inside = column < gemm.columns;
    weights[i] = is_inside ? to_float(static_cast<const T*>(gemm.weight)[column * gemm.weight_stride + k]) : 0.0f;
  }
  __syncthreads();
  dependent_launch();
  if (place.image >= gemm.batch) return;
  const std::int64_t plane = static_cast<std::int64_t>(gemm.height) * gemm.width;
  const std::int64_t pixel_step = kIsPlanar ? 1 : gemm.x_stride, channel_step = kIsPlanar ? plane : 1;
  const X* const x = static_cast<const X*>(gemm.x) + place.image * plane * (kIsPlanar ? gemm.channels : gemm.x_stride);
  float sums[kStemPixels][kStemColumns] = {};
  const float* weight = weights;
  for (int tap_y = 0; tap_y < gemm.kernel_height; ++tap_y) {
    const int line = place.line * gemm.stride - gemm.padding + tap_y;
    const bool is_line_inside = static_cast<unsigned>(line) < static_cast<unsigned>(gemm.height);
    for (int tap_x = 0; tap_x < gemm.kernel_width; ++tap_x) {
      const X* pixels[kStemPixels];
      bool is_inside[kStemPixels];
#pragma unroll
      for (int p = 0; p < kStemPixels; ++p) {
        const int column = (place.column + p) * gemm.stride - gemm.padding + tap_x;
        is_inside[p] = is_line_inside && static_cast<unsigned>(column) < static_cast<unsigned>(gemm.width);
        pixels[p] = x + (static_cast<std::int64_t>(line) * gemm.width + column) * pixel_step;
      }
      for (int channel = 0; channel < gemm.channels; ++channel, weight += kStemColumns) {
        float values[kStemPixels];
#pragma unroll
        for (int p = 0; p < kStemPixels; ++p)
          values[p] = is_inside[p] ? to_float(pixels[p][channel * channel_step]) : 0.0f;
#pragma unroll
        for (int c = 0; c < kStemColumns; c += 4) {
          const float4 w = *reinterpret_cast<const float4*>(weight + c);
#pragma unroll
          for (int p = 0; p < kStemPixels; ++p) {
            sums[p][c] += values[p] * w.x;
            sums[p][c + 1] += values[p] * w.y;
            sums[p][c + 2] += values[p] * w.z;
            sums[p][c + 3] += values[p] * w.w;
          }
        }
      }
    }
  }
  // In groups of eight channels, the most that a store takes.
#pragma unroll
  for (int c = 0; c < kStemColumns; c += 8) {
    float part[kStemPixels][8];
#pragma unroll
    for (int p = 0; p < kStemPixels; ++p) {
#pragma unroll
      for (int i = 0; i < 8; ++i) part[p][i] = sums[p][c + i];
    }
    Place part_place = place;
    part_place.channel += c;
    if (part_place.channel < gemm.columns) finish_pixels<Y>(launch, part_place, part);
  }
}

int round_up_division(int a, int b) {
  return (a + b - 1) / b;
}

bool is_aligned(const void* data, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % bytes == 0;
}

template <typename T, typename Y>
void start_depthwise(DirectLaunch parameters, CudaStream stream) {
  const Gemm& gemm = parameters.gemm;
  constexpr int kMost = 16 / sizeof(T);
  parameters.line_groups = round_up_division(gemm.out_width, kDepthwisePixels);
  const bool is_vectorised = gemm.groups % kMost == 0 && gemm.x_stride % kMost == 0 && is_aligned(gemm.x, 16);
  const int channels = is_vectorised ? kMost : 1;
  parameters.channel_groups = gemm.groups / channels;
  parameters.are_groups_stored = is_vectorised && gemm.y_stride % kMost == 0 && is_aligned(gemm.y, kMost * sizeof(Y));
  const std::int64_t items =
      std::int64_t{gemm.batch} * gemm.out_height * parameters.line_groups * parameters.channel_groups;
  launch("convolution", is_vectorised ? depthwise_kernel<T, Y, kMost> : depthwise_kernel<T, Y, 1>,
         (items + kThreads - 1) / kThreads, kThreads, 0, stream, parameters);
}

template <typename T, typename Y>
void start_stem(DirectLaunch parameters, CudaStream stream) {
  const Gemm& gemm = parameters.gemm;
  parameters.line_groups = round_up_division(gemm.out_width, kStemPixels);
  parameters.channel_groups = round_up_division(gemm.columns, kStemColumns);
  parameters.are_groups_stored = gemm.columns % 8 == 0 && gemm.y_stride % 8 == 0 && is_aligned(gemm.y, 8 * sizeof(Y));
  const std::int64_t pixel_groups = std::int64_t{gemm.batch} * gemm.out_height * parameters.line_groups;
  const std::size_t bytes = static_cast<std::size_t>(gemm.depth) * kStemColumns * sizeof(float);
  launch("convolution", gemm.is_x_planar ? stem_kernel<T, Y, float, true> : stem_kernel<T, Y, T, false>,
         (pixel_groups + kThreads - 1) / kThreads * parameters.channel_groups, kThreads, bytes, stream, parameters);
}

// Calls start(T, Y) with values of the types of x and y.
template <typename Start>
void with_types(const Gemm& gemm, Start&& start) {
  const auto with_output = [&](auto x) {
    if (gemm.y_dtype == DType::f32) return start(x, 0.0f);
    start(x, x);
  };
  if (gemm.dtype == DType::f32) return with_output(0.0f);
  if (gemm.dtype == DType::f16) return with_output(__half());
  with_output(__nv_bfloat16());
}

}  // namespace

bool is_stem(const Gemm& gemm) {
  constexpr int kMostDepth = 192;  // 24 KB of shared memory
  return gemm.groups == 1 && gemm.channels <= 4 && gemm.depth <= kMostDepth;
}

void depthwise_convolution(const Gemm& gemm, CudaStream stream) {
  with_types(gemm, [&](auto x, auto y) { start_depthwise<decltype(x), decltype(y)>({gemm, 0, 0, false}, stream); });
}

void stem_convolution(const Gemm& gemm, CudaStream stream) {
  with_types(gemm, [&](auto x, auto y) { start_stem<decltype(x), decltype(y)>({gemm, 0, 0, false}, stream); });
}

}  // namespace vistazo::cuda
