// Layer norm on CUDA: one warp per row, which it reads once and keeps in registers (rows of more than 1024 columns are
// read three times, twice from the cache). Lane l holds columns 4 l .. 4 l + 3 of every 128. Statistics as on the CPU:
// the sum of the deviations from the mean is the mean's rounding error (times the columns), and both statistics are
// corrected by it (Chan, Golub & LeVeque 1983, eq. 1.7). Of rows of up to 384 columns scale and bias, which are
// weights, are read while the kernel in front still runs. Limited by memory; for one image by the latency of reading a
// row and of three sums over a warp.
#include <cstdint>
#include <type_traits>

#include "kernels/base/error.h"
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"
#include "kernels/layer_norm.h"

namespace vistazo::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;  // rows share nothing: small blocks, so that few rows fill the chip
constexpr int kGroup = 4;                          // columns that a lane reads together: 16 bytes of f32
constexpr int kStep = 32 * kGroup;
constexpr int kMostWeights = 3;  // groups whose scale and bias a lane reads in advance: more would be 150 registers

struct LayerNormLaunch {
  LayerNormArgs args;
  bool is_vectorised;  // groups of every operand are aligned and whole
};

// A lane's group of a row; zeros behind the row.
template <typename T>
__device__ void load_columns(float (&values)[kGroup], const T* row, int column, int cols, bool is_vectorised) {
  if (is_vectorised && column < cols) {
    load_group(values, row + column);
  } else {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) values[i] = column + i < cols ? to_float(row[column + i]) : 0.0f;
  }
}

template <typename T>
__device__ void store_columns(T* row, const float (&values)[kGroup], int column, int cols, bool is_vectorised) {
  if (is_vectorised && column < cols) {
    store_group(row + column, values);
  } else {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      if (column + i < cols) row[column + i] = from_float<T>(values[i]);
    }
  }
}

// y, or y + addend, for the products behind the norm. Their type is a branch that all threads take alike.
__device__ void store_extra(const LayerNormArgs& args, std::int64_t row, int column, bool is_vectorised,
                            float (&values)[kGroup]) {
  const auto store = [&]<typename T>(const T* addends) {
    float addend[kGroup] = {};
    if (addends != nullptr) load_columns(addend, addends + row * args.cols, column, args.cols, is_vectorised);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) values[i] += addend[i];
    store_columns(static_cast<T*>(args.extra) + row * args.cols, values, column, args.cols, is_vectorised);
  };
  if (args.extra_dtype == DType::f32) return store(static_cast<const float*>(args.addend));
  if (args.extra_dtype == DType::f16) return store(static_cast<const __half*>(args.addend));
  store(static_cast<const __nv_bfloat16*>(args.addend));
}

// kGroups: groups that a lane keeps, or 0 to read the row again for every pass.
template <typename X, typename Y, int kGroups>
__global__ void __launch_bounds__(kThreads) layer_norm_kernel(const __grid_constant__ LayerNormLaunch launch) {
  const LayerNormArgs& args = launch.args;
  const int lane = static_cast<int>(threadIdx.x) % 32, cols = args.cols;
  const bool is_vectorised = launch.is_vectorised;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (row >= args.rows) return;  // the whole warp
  // Not __restrict__: y may equal x. A lane writes only what it alone has read.
  const X* x = static_cast<const X*>(args.x) + row * args.x_row_stride;
  Y* y = static_cast<Y*>(args.y) + row * args.y_row_stride;

  constexpr int kKept = kGroups > 0 ? kGroups : 1;
  constexpr int kWeights = kGroups <= kMostWeights ? kGroups : 0;
  float kept[kKept][kGroup], scale[kKept][kGroup], bias[kKept][kGroup];
#pragma unroll
  for (int i = 0; i < kWeights; ++i) {
    load_columns(scale[i], args.scale, i * kStep + lane * kGroup, cols, is_vectorised);
    load_columns(bias[i], args.bias, i * kStep + lane * kGroup, cols, is_vectorised);
  }
  dependent_launch();
#pragma unroll
  for (int i = 0; i < kGroups; ++i) load_columns(kept[i], x, i * kStep + lane * kGroup, cols, is_vectorised);
  // Calls body(values, column, group) for the lane's groups.
  const auto for_each_group = [&](auto&& body) {
    if constexpr (kGroups > 0) {
#pragma unroll
      for (int i = 0; i < kGroups; ++i) body(kept[i], i * kStep + lane * kGroup, i);
    } else {
      for (int column = lane * kGroup; column < cols; column += kStep) {
        load_columns(kept[0], x, column, cols, is_vectorised);
        body(kept[0], column, 0);
      }
    }
  };

  float sum = 0.0f, deviations = 0.0f, squares = 0.0f;
  for_each_group([&](const float(&values)[kGroup], int, int) {
#pragma unroll
    for (const float value : values) sum += value;
  });
  const float count = static_cast<float>(cols), mean = sum_of_warp(sum) / count;
  for_each_group([&](const float(&values)[kGroup], int column, int) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const float deviation = column + i < cols ? values[i] - mean : 0.0f;
      deviations += deviation;
      squares += deviation * deviation;
    }
  });
  const float correction = sum_of_warp(deviations) / count;
  const float variance = fmaxf(0.0f, sum_of_warp(squares) / count - correction * correction);
  const float factor = 1.0f / sqrtf(variance + args.eps);
  for_each_group([&](const float(&values)[kGroup], int column, int group) {
    if constexpr (kWeights == 0) {
      load_columns(scale[group], args.scale, column, cols, is_vectorised);
      load_columns(bias[group], args.bias, column, cols, is_vectorised);
    }
    float result[kGroup];
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      result[i] =
          activate((values[i] - mean - correction) * factor * scale[group][i] + bias[group][i], args.activation);
    }
    store_columns(y, result, column, cols, is_vectorised);
    if constexpr (std::is_same_v<X, float> && std::is_same_v<Y, float>) {
      if (args.extra != nullptr) store_extra(args, row, column, is_vectorised, result);
    }
  });
}

template <typename X, typename Y>
void choose_groups(const LayerNormLaunch& parameters, CudaStream stream) {
  const auto start = [&](void (*kernel)(LayerNormLaunch)) {
    launch("layer_norm", kernel, (parameters.args.rows + kWarps - 1) / kWarps, kThreads, 0, stream, parameters);
  };
  // As few groups as hold the row: a lane goes through the activation of empty ones too.
  if (parameters.args.cols <= kStep) return start(layer_norm_kernel<X, Y, 1>);
  if (parameters.args.cols <= 2 * kStep) return start(layer_norm_kernel<X, Y, 2>);
  if (parameters.args.cols <= 3 * kStep) return start(layer_norm_kernel<X, Y, 3>);
  if (parameters.args.cols <= 8 * kStep) return start(layer_norm_kernel<X, Y, 8>);
  start(layer_norm_kernel<X, Y, 0>);
}

// Both types alike, or one of them f32.
template <typename T>
void choose_other(const LayerNormLaunch& parameters, CudaStream stream) {
  if (parameters.args.x_dtype == DType::f32) return choose_groups<float, T>(parameters, stream);
  if (parameters.args.y_dtype == DType::f32) return choose_groups<T, float>(parameters, stream);
  choose_groups<T, T>(parameters, stream);
}

void check(const LayerNormArgs& args) {
  const bool are_alike = args.x_dtype == args.y_dtype || args.x_dtype == DType::f32 || args.y_dtype == DType::f32;
  if (!is_float(args.x_dtype) || !is_float(args.y_dtype) || !are_alike) {
    fail(Error::Code::unsupported, "layer_norm: {} -> {}; f32, f16 or bf16 is needed, both alike or one of them f32",
         name_of(args.x_dtype), name_of(args.y_dtype));
  }
  if (args.extra != nullptr &&
      (args.x_dtype != DType::f32 || args.y_dtype != DType::f32 || !is_float(args.extra_dtype))) {
    fail(Error::Code::unsupported,
         "layer_norm: {} -> {} with an extra result in {}; f32 -> f32 and any float is needed", name_of(args.x_dtype),
         name_of(args.y_dtype), name_of(args.extra_dtype));
  }
  if (args.rows < 0 || args.cols <= 0) {
    fail(Error::Code::argument, "layer_norm: {} rows, {} columns", args.rows, args.cols);
  }
  if (args.x_row_stride < args.cols || args.y_row_stride < args.cols) {
    fail(Error::Code::argument, "layer_norm: row strides {} and {} for {} columns", args.x_row_stride,
         args.y_row_stride, args.cols);
  }
}

}  // namespace

void layer_norm(const LayerNormArgs& args, CudaStream stream) {
  check(args);
  if (args.rows == 0) return;
  LayerNormLaunch launch{};
  launch.args = args;
  launch.is_vectorised =
      args.cols % kGroup == 0 && are_groups_aligned(kGroup, args.x, args.x_row_stride, args.x_dtype) &&
      are_groups_aligned(kGroup, args.y, args.y_row_stride, args.y_dtype) &&
      (args.extra == nullptr || are_groups_aligned(kGroup, args.extra, args.cols, args.extra_dtype)) &&
      (args.addend == nullptr || are_groups_aligned(kGroup, args.addend, args.cols, args.extra_dtype)) &&
      are_groups_aligned(kGroup, args.scale, 0, DType::f32) && are_groups_aligned(kGroup, args.bias, 0, DType::f32);
  const DType narrow = args.x_dtype == DType::f32 ? args.y_dtype : args.x_dtype;
  if (narrow == DType::f32) return choose_groups<float, float>(launch, stream);
  if (narrow == DType::f16) return choose_other<__half>(launch, stream);
  choose_other<__nv_bfloat16>(launch, stream);
}

}  // namespace vistazo::cuda
