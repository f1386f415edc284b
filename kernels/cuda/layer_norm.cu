// Layer norm on CUDA. A row belongs to 8, 16 or 32 lanes of a warp, which read it once, in groups of 16 bytes, and keep
// it in registers; a warp goes through several rows, and the next is on its way while one is computed. Rows of more
// than 1024 columns are read three times, twice from the cache. Statistics as on the CPU: the sum of the deviations
// from the mean is the mean's rounding error (times the columns), and both statistics are corrected by it (Chan, Golub
// & LeVeque 1983, eq. 1.7). Of rows that few groups hold, scale and bias, which are weights, are read while the kernel
// in front still runs. How a row is divided depends on its columns alone, and so do the bits of its result. Limited by
// memory; for one image by the latency of reading a row and of three sums over its lanes.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/base/error.h"
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"
#include "kernels/cuda/window_map.cuh"
#include "kernels/layer_norm.h"

namespace vistazo::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;  // rows share nothing: small blocks, so that few rows fill the chip
constexpr int kMostWeights = 24;                   // columns whose scale and bias a lane keeps
constexpr std::int64_t kMostBlocks = 132 * 8;      // some waves of an H200: behind them warps take more rows

struct LayerNormLaunch {
  LayerNormArgs args;
  bool is_vectorised;  // groups of every operand are aligned and whole
};

// Of a row of X: kLanes lanes keep kGroups groups each; lane l has group l, l + kLanes, ... No groups: the row is read
// again for every pass.
template <typename X, int kLaneCount, int kGroupCount>
struct Division {
  static constexpr int kLanes = kLaneCount, kGroups = kGroupCount;
  static constexpr int kGroup = 16 / sizeof(X), kKept = kGroups > 0 ? kGroups : 1;
  static constexpr int kWarpRows = 32 / kLanes;
  static constexpr bool kHasWeights = kGroups > 0 && kGroups* kGroup <= kMostWeights;
  using Raw = Group<X, kGroup>;
  using Values = float[kKept][kGroup];
};

// A lane's group of a row; zeros behind the row.
template <typename T, int kCount>
__device__ void load_columns(Group<T, kCount>& group, const T* row, int column, int cols, bool is_vectorised) {
  if (is_vectorised) {
    if (column < cols) group = *reinterpret_cast<const Group<T, kCount>*>(row + column);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (column + i < cols) group.values[i] = row[column + i];
    }
  }
}

template <typename T, int kCount>
__device__ void load_columns(float (&values)[kCount], const T* row, int column, int cols, bool is_vectorised) {
  Group<T, kCount> group{};
  load_columns(group, row, column, cols, is_vectorised);
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = to_float(group.values[i]);
}

template <typename T, int kCount>
__device__ void store_columns(T* row, const float (&values)[kCount], int column, int cols, bool is_vectorised) {
  if (is_vectorised) {
    if (column < cols) store_group(row + column, values);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (column + i < cols) row[column + i] = from_float<T>(values[i]);
    }
  }
}

// y, or y + addend, for the products behind the norm. Their type is a branch that all threads take alike.
template <int kCount>
__device__ void store_extra(const LayerNormArgs& args, std::int64_t row, int column, bool is_vectorised,
                            float (&values)[kCount]) {
  const auto store = [&]<typename T>(const T* addends) {
    float addend[kCount] = {};
    if (addends != nullptr) load_columns(addend, addends + row * args.cols, column, args.cols, is_vectorised);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] += addend[i];
    store_columns(static_cast<T*>(args.extra) + row * args.cols, values, column, args.cols, is_vectorised);
  };
  if (args.extra_dtype == DType::f32) return store(static_cast<const float*>(args.addend));
  if (args.extra_dtype == DType::f16) return store(static_cast<const __half*>(args.addend));
  store(static_cast<const __nv_bfloat16*>(args.addend));
}

template <int kLanes>
__device__ float sum_of_lanes(float x) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}

template <typename X, typename Y, typename D>
class RowNorm {
 public:
  __device__ explicit RowNorm(const LayerNormLaunch& launch)
      : args_(launch.args),
        is_vectorised_(launch.is_vectorised),
        first_column_(static_cast<int>(threadIdx.x) % D::kLanes * D::kGroup) {
#pragma unroll
    for (int i = 0; D::kHasWeights && i < D::kGroups; ++i) load_weights(i, column_of(i));
  }

  __device__ void prefetch(std::int64_t row) {
    if (row >= args_.rows) return;
    const X* const x = x_of(row);
#pragma unroll
    for (int i = 0; i < D::kGroups; ++i) load_columns(next_[i], x, column_of(i), args_.cols, is_vectorised_);
  }

  // The row that was fetched; the lanes of one that does not exist take part in the sums. next: the one to fetch.
  __device__ void run(std::int64_t row, std::int64_t next) {
    const bool exists = row < args_.rows;
    typename D::Values kept;
#pragma unroll
    for (int i = 0; i < D::kGroups; ++i) {
#pragma unroll
      for (int j = 0; j < D::kGroup; ++j) kept[i][j] = to_float(next_[i].values[j]);
    }
    prefetch(next);
    // Calls body(values, column, group) for the lane's groups.
    const auto for_each_group = [&](auto&& body) {
      if constexpr (D::kGroups > 0) {
#pragma unroll
        for (int i = 0; i < D::kGroups; ++i) body(kept[i], column_of(i), i);
      } else {
        const X* const x = x_of(exists ? row : 0);
        for (int column = first_column_; exists && column < args_.cols; column += D::kLanes * D::kGroup) {
          load_columns(kept[0], x, column, args_.cols, is_vectorised_);
          body(kept[0], column, 0);
        }
      }
    };
    float sum = 0.0f, deviations = 0.0f, squares = 0.0f;
    for_each_group([&](const float(&values)[D::kGroup], int, int) {
#pragma unroll
      for (const float value : values) sum += value;
    });
    const float count = static_cast<float>(args_.cols), mean = sum_of_lanes<D::kLanes>(sum) / count;
    for_each_group([&](const float(&values)[D::kGroup], int column, int) {
#pragma unroll
      for (int i = 0; i < D::kGroup; ++i) {
        const float deviation = column + i < args_.cols ? values[i] - mean : 0.0f;
        deviations += deviation;
        squares += deviation * deviation;
      }
    });
    const float correction = sum_of_lanes<D::kLanes>(deviations) / count;
    const float variance = fmaxf(0.0f, sum_of_lanes<D::kLanes>(squares) / count - correction * correction);
    const float factor = 1.0f / sqrtf(variance + args_.eps);
    if (!exists) return;
    Y* const y = static_cast<Y*>(args_.y) + row * args_.y_row_stride;
    for_each_group([&](const float(&values)[D::kGroup], int column, int group) {
      if constexpr (!D::kHasWeights) load_weights(0, column);
      const int weights = D::kHasWeights ? group : 0;
      float result[1][D::kGroup];
#pragma unroll
      for (int i = 0; i < D::kGroup; ++i) {
        result[0][i] = (values[i] - mean - correction) * factor * scale_[weights][i] + bias_[weights][i];
      }
      activate_all<Y>(result, args_.activation);
      store_columns(y, result[0], column, args_.cols, is_vectorised_);
      if constexpr (std::is_same_v<X, float> && std::is_same_v<Y, float>) {
        if (args_.extra != nullptr) store_extra(args_, row, column, is_vectorised_, result[0]);
      }
    });
  }

 private:
  __device__ int column_of(int group) const {
    return first_column_ + group * D::kLanes * D::kGroup;
  }
  // Not __restrict__: y may equal x. A lane writes only what it alone has read.
  __device__ const X* x_of(std::int64_t row) const {
    const std::int64_t from = args_.grid.windows > 0 ? WindowsToGridMap{args_.grid}(row) : row;
    return static_cast<const X*>(args_.x) + from * args_.x_row_stride;
  }
  __device__ void load_weights(int i, int column) {
    load_columns(scale_[i], args_.scale, column, args_.cols, is_vectorised_);
    load_columns(bias_[i], args_.bias, column, args_.cols, is_vectorised_);
  }

  const LayerNormArgs& args_;
  bool is_vectorised_;
  int first_column_;
  typename D::Raw next_[D::kKept] = {};  // zeros behind the row, which stay
  float scale_[D::kHasWeights ? D::kKept : 1][D::kGroup], bias_[D::kHasWeights ? D::kKept : 1][D::kGroup];
};

template <typename X, typename Y, typename D>
__global__ void __launch_bounds__(kThreads) layer_norm_kernel(const __grid_constant__ LayerNormLaunch launch) {
  RowNorm<X, Y, D> norm(launch);
  dependent_launch();
  const std::int64_t rows = launch.args.rows, step = std::int64_t{gridDim.x} * (kThreads / D::kLanes);
  std::int64_t row = (std::int64_t{blockIdx.x} * kThreads + static_cast<int>(threadIdx.x)) / D::kLanes;
  norm.prefetch(row);
  // All rows of a warp or none: its lanes stay together.
  for (; row / D::kWarpRows * D::kWarpRows < rows; row += step) norm.run(row, row + step);
}

template <typename X, typename Y>
void choose_division(const LayerNormLaunch& parameters, CudaStream stream) {
  const auto start = [&]<typename D>(D) {
    constexpr int kRows = kThreads / D::kLanes;
    const std::int64_t blocks = std::min((parameters.args.rows + kRows - 1) / kRows, kMostBlocks);
    launch("layer_norm", layer_norm_kernel<X, Y, D>, blocks, kThreads, 0, stream, parameters);
  };
  // Whatever leaves the fewest lanes idle.
  const int cols = parameters.args.cols;
  if constexpr (sizeof(X) == sizeof(float)) {
    if (cols <= 128) return start(Division<X, 32, 1>{});
    if (cols <= 192) return start(Division<X, 16, 3>{});
    if (cols <= 256) return start(Division<X, 32, 2>{});
    if (cols <= 384) return start(Division<X, 32, 3>{});
    if (cols <= 1024) return start(Division<X, 32, 8>{});
  } else {
    if (cols <= 128) return start(Division<X, 16, 1>{});
    if (cols <= 192) return start(Division<X, 8, 3>{});
    if (cols <= 256) return start(Division<X, 32, 1>{});
    if (cols <= 384) return start(Division<X, 16, 3>{});
    if (cols <= 512) return start(Division<X, 32, 2>{});
    if (cols <= 768) return start(Division<X, 32, 3>{});
    if (cols <= 1024) return start(Division<X, 32, 4>{});
  }
  start(Division<X, 32, 0>{});
}

// Both types alike, or one of them f32.
template <typename T>
void choose_other(const LayerNormLaunch& parameters, CudaStream stream) {
  if (parameters.args.x_dtype == DType::f32) return choose_division<float, T>(parameters, stream);
  if (parameters.args.y_dtype == DType::f32) return choose_division<T, float>(parameters, stream);
  choose_division<T, T>(parameters, stream);
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
  const WindowGrid& grid = args.grid;
  if (grid.windows != 0 && (!grid.is_valid() || args.rows % grid.height != 0 ||
                            args.rows / grid.height % grid.width != 0 || args.extra != nullptr)) {
    fail(Error::Code::argument, "layer_norm: {} rows of a grid of {} x {} patches in {} x {} windows{}", args.rows,
         grid.height, grid.width, grid.windows, grid.windows, args.extra != nullptr ? ", with an extra result" : "");
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
  const int group = 16 / static_cast<int>(size_of(args.x_dtype));
  launch.is_vectorised =
      args.cols % group == 0 && are_groups_aligned(group, args.x, args.x_row_stride, args.x_dtype) &&
      are_groups_aligned(group, args.y, args.y_row_stride, args.y_dtype) &&
      (args.extra == nullptr || are_groups_aligned(group, args.extra, args.cols, args.extra_dtype)) &&
      (args.addend == nullptr || are_groups_aligned(group, args.addend, args.cols, args.extra_dtype)) &&
      are_groups_aligned(group, args.scale, 0, DType::f32) && are_groups_aligned(group, args.bias, 0, DType::f32);
  const DType narrow = args.x_dtype == DType::f32 ? args.y_dtype : args.x_dtype;
  if (narrow == DType::f32) return choose_division<float, float>(launch, stream);
  if (narrow == DType::f16) return choose_other<__half>(launch, stream);
  choose_other<__nv_bfloat16>(launch, stream);
}

}  // namespace vistazo::cuda
