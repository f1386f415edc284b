// The product without tensor cores: f32 in full precision, and operands of any alignment. A block owns 64 x 64 outputs
// and walks along k in steps of 16; each of its 256 threads keeps 4 x 4 sums in registers. The next step's operands are
// on their way to registers while this one's are multiplied from shared memory. Limited by shared memory: 8 loads of 16
// bytes feed 64 multiply-adds.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/gemm/epilogue.cuh"
#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/launch.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kTile = 64, kStep = 16, kThreads = 256;
constexpr int kSide = 4;                          // of a thread's square of sums
constexpr int kLoads = kTile * kStep / kThreads;  // elements of each operand that a thread fetches in a step
constexpr int kLanes = kStep / kLoads;            // threads that fetch one row of a step
constexpr int kPitch = kTile + 4;                 // of a column of an operand in shared memory, in floats

struct SimtLaunch {
  Gemm gemm;
  int row_tiles, column_tiles;
};

// A row of the left operand: the pixel of the kernel's corner in its image, which may lie outside.
struct RowOrigin {
  std::int64_t image;  // its first pixel
  int y, x;
  bool is_inside;  // whether the row exists
};

__device__ RowOrigin origin_of(const Gemm& gemm, int row) {
  const int column = row % gemm.out_width, line = row / gemm.out_width % gemm.out_height;
  const std::int64_t image = row / gemm.out_width / gemm.out_height;
  return {image * gemm.height * gemm.width, line * gemm.stride - gemm.padding, column * gemm.stride - gemm.padding,
          row < gemm.rows};
}

template <typename T>
__device__ float load_x(const Gemm& gemm, const T* x, const RowOrigin& origin, int k) {
  if (!origin.is_inside || k >= gemm.depth) return 0.0f;
  const int channel = k % gemm.channels, tap = k / gemm.channels;
  const int line = origin.y + tap / gemm.kernel_width, column = origin.x + tap % gemm.kernel_width;
  if (line < 0 || line >= gemm.height || column < 0 || column >= gemm.width) return 0.0f;
  return to_float(x[(origin.image + static_cast<std::int64_t>(line) * gemm.width + column) * gemm.x_stride + channel]);
}

template <typename T, typename Y>
__global__ void __launch_bounds__(kThreads) gemm_simt_kernel(const __grid_constant__ SimtLaunch launch) {
  dependent_launch();
  const Gemm& gemm = launch.gemm;
  __shared__ __align__(16) float x_tile[kStep * kPitch];
  __shared__ __align__(16) float weight_tile[kStep * kPitch];
  const int thread = static_cast<int>(threadIdx.x), tile = static_cast<int>(blockIdx.x);
  const int first_row = tile / launch.column_tiles % launch.row_tiles * kTile;
  const int first_column = tile % launch.column_tiles * kTile;
  const int group = tile / launch.column_tiles / launch.row_tiles;

  const int load_row = thread / kLanes, load_k = thread % kLanes * kLoads;
  const RowOrigin origin = origin_of(gemm, first_row + load_row);
  const T* const x = static_cast<const T*>(gemm.x) + static_cast<std::int64_t>(group) * gemm.channels;
  const bool has_weight = first_column + load_row < gemm.columns;
  const T* const weight =
      static_cast<const T*>(gemm.weight) +
      static_cast<std::int64_t>(group * gemm.columns + (has_weight ? first_column + load_row : 0)) * gemm.weight_stride;

  float x_next[kLoads], weight_next[kLoads], sums[kSide][kSide] = {};
  const auto fetch = [&](int k) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      x_next[i] = load_x(gemm, x, origin, k + load_k + i);
      weight_next[i] = has_weight && k + load_k + i < gemm.depth ? to_float(weight[k + load_k + i]) : 0.0f;
    }
  };
  const int row = thread / (kTile / kSide) * kSide, column = thread % (kTile / kSide) * kSide;
  fetch(0);
  for (int k = 0; k < gemm.depth; k += kStep) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      x_tile[(load_k + i) * kPitch + load_row] = x_next[i];
      weight_tile[(load_k + i) * kPitch + load_row] = weight_next[i];
    }
    __syncthreads();
    if (k + kStep < gemm.depth) fetch(k + kStep);
#pragma unroll
    for (int step = 0; step < kStep; ++step) {
      const float4 a = *reinterpret_cast<const float4*>(x_tile + step * kPitch + row);
      const float4 b = *reinterpret_cast<const float4*>(weight_tile + step * kPitch + column);
      const float left[kSide] = {a.x, a.y, a.z, a.w}, right[kSide] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int i = 0; i < kSide; ++i) {
#pragma unroll
        for (int j = 0; j < kSide; ++j) sums[i][j] += left[i] * right[j];
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
#pragma unroll
    for (int j = 0; j < kSide; ++j) {
      if (first_row + row + i < gemm.rows && first_column + column + j < gemm.columns) {
        finish<Y>(gemm, sums[i][j], first_row + row + i, group * gemm.columns + first_column + column + j);
      }
    }
  }
}

template <typename T>
void choose_output(const char* name, const SimtLaunch& parameters, CudaStream stream) {
  const std::int64_t blocks =
      static_cast<std::int64_t>(parameters.row_tiles) * parameters.column_tiles * parameters.gemm.groups;
  const auto start = [&](void (*kernel)(SimtLaunch)) { launch(name, kernel, blocks, kThreads, 0, stream, parameters); };
  if (parameters.gemm.y_dtype == DType::f32) return start(gemm_simt_kernel<T, float>);
  start(gemm_simt_kernel<T, T>);
}

}  // namespace

void gemm_simt(const char* name, const Gemm& gemm, CudaStream stream) {
  const SimtLaunch parameters{gemm, (gemm.rows + kTile - 1) / kTile, (gemm.columns + kTile - 1) / kTile};
  if (gemm.dtype == DType::f32) return choose_output<float>(name, parameters, stream);
  if (gemm.dtype == DType::f16) return choose_output<__half>(name, parameters, stream);
  choose_output<__nv_bfloat16>(name, parameters, stream);
}

}  // namespace vistazo::cuda
