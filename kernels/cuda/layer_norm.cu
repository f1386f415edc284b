// Layer norm on CUDA. A row belongs to 8, 16 or 32 lanes of a warp, which keep it in registers. Of few rows each warp
// takes one set and reads it at once, in small groups for a short way to the sums. Of many a warp goes through several,
// and the next are on their way to shared memory while one is computed: what registers hold of a 16-bit row is too few
// bytes to keep the memory busy. A lane reads there what it alone has copied. Rows of more than 1024 columns are read
// three times, twice from the cache.
//
// Statistics as on the CPU: the sum of the deviations from the mean is the mean's rounding error (times the columns),
// and both statistics are corrected by it (Chan, Golub & LeVeque 1983, eq. 1.7). Sums are taken in an order that
// depends on a row's columns alone, and so are the bits of its result, however many rows there are. Of rows that few
// groups hold, scale and bias, which are weights, are read while the kernel in front still runs. Limited by memory; for
// one image by the latency of reading a row and of three sums over its lanes.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/base/error.h"
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/warp.cuh"
#include "kernels/cuda/window_map.cuh"
#include "kernels/layer_norm.h"

namespace vistazo::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;  // rows share nothing: small blocks, so that few rows fill the chip
constexpr int kMostWeights = 24;                   // columns whose scale and bias a lane keeps
constexpr int kStages = 4;                         // sets of rows of a warp in shared memory
constexpr int kMostCopied = 4;                     // groups of a lane in each of them
constexpr int kBlocks = 4;                         // that a multiprocessor holds of them
constexpr std::int64_t kMostBlocks =
    132 * kBlocks;  // of an H200; with more rows than for these, warps take several sets

struct LayerNormLaunch {
  LayerNormArgs args;
  bool is_vectorised;  // groups of every operand are aligned and whole
};

// Of a row: kLanes lanes keep kGroups groups of kGroup columns each; lane l has group l, l + kLanes, ... No groups: the
// row is read again for every pass. Sums are taken over each half of the groups, and then over the halves, where
// another division gives these to two lanes.
template <int kLaneCount, int kGroupCount, int kColumns, int kHalfCount>
struct Division {
  static constexpr int kLanes = kLaneCount, kGroups = kGroupCount, kGroup = kColumns, kHalves = kHalfCount;
  static constexpr int kKept = kGroups > 0 ? kGroups : 1;
  static constexpr int kWarpRows = 32 / kLanes;
  static constexpr bool kHasWeights = kGroups > 0 && kGroups* kGroup <= kMostWeights;
  using Values = float[kKept][kGroup];
};

// For many rows, in groups of 16 bytes; and for few, where that leaves lanes to share a row.
template <typename X, int kLanes, int kGroups>
struct Divisions {
  static constexpr int kGroup = 16 / sizeof(X);
  static constexpr bool kIsShared = kLanes < 32 && sizeof(X) < sizeof(float);
  using Many = Division<kLanes, kGroups, kGroup, kIsShared ? 2 : 1>;
  using Few = std::conditional_t<kIsShared, Division<2 * kLanes, kGroups, kGroup / 2, 1>, Many>;
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

// Over the halves and the lanes of a row, neighbours first.
template <typename D>
__device__ float sum_of_row(const float (&halves)[D::kHalves]) {
  float x = D::kHalves == 2 ? halves[0] + halves[D::kHalves - 1] : halves[0];
#pragma unroll
  for (int distance = 1; distance < D::kLanes; distance *= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}

// What is known of all rows: nothing; that groups are whole and aligned; that they fill all groups of a division.
enum class Rows : std::uint8_t { any, grouped, full };

// What a lane does with its part of a row.
template <typename X, typename Y, typename D, Rows kRows>
class RowNorm {
 public:
  using Raw = Group<X, D::kGroup>;

  __device__ explicit RowNorm(const LayerNormLaunch& launch)
      : args_(launch.args),
        is_vectorised_(kRows != Rows::any || launch.is_vectorised),
        first_column_(static_cast<int>(threadIdx.x) % D::kLanes * D::kGroup) {
#pragma unroll
    for (int i = 0; D::kHasWeights && i < D::kGroups; ++i) load_weights(i, column_of(i));
  }

  __device__ int column_of(int group) const {
    return first_column_ + group * D::kLanes * D::kGroup;
  }
  // Not __restrict__: y may equal x. A lane writes only what it alone has read.
  __device__ const X* x_of(std::int64_t row) const {
    const std::int64_t from = args_.grid.windows > 0 ? WindowsToGridMap{args_.grid}(row) : row;
    return static_cast<const X*>(args_.x) + from * args_.x_row_stride;
  }

  __device__ void load(std::int64_t row, Raw (&raw)[D::kKept]) const {
    if (row >= args_.rows) return;
    const X* const x = x_of(row);
#pragma unroll
    for (int i = 0; i < D::kGroups; ++i) load_columns(raw[i], x, column_of(i), args_.cols, is_vectorised_);
  }
  // Starts copies to the lane's groups in shared memory, kThreads apart. What lies behind the row stays as it is.
  __device__ void start_copies(std::int64_t row, Raw* shared) const {
    if (row >= args_.rows) return;
    const X* const x = x_of(row);
#pragma unroll
    for (int i = 0; i < D::kGroups; ++i) {
      if (kRows == Rows::full || column_of(i) < args_.cols)
        ptx::cp_async_cg_16(shared + i * kThreads, x + column_of(i), 16);
    }
  }

  // raw: the row's groups, zeros behind its columns; the lanes of a row that does not exist take part in the sums.
  __device__ void run(std::int64_t row, const Raw (&raw)[D::kKept]) {
    const bool exists = row < args_.rows;
    typename D::Values kept;
#pragma unroll
    for (int i = 0; i < D::kGroups; ++i) {
#pragma unroll
      for (int j = 0; j < D::kGroup; ++j) kept[i][j] = to_float(raw[i].values[j]);
    }
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
    constexpr int kHalf = D::kGroup / D::kHalves;
    float sums[D::kHalves] = {}, deviations[D::kHalves] = {}, squares[D::kHalves] = {};
    for_each_group([&](const float(&values)[D::kGroup], int, int) {
#pragma unroll
      for (int i = 0; i < D::kGroup; ++i) sums[i / kHalf] += values[i];
    });
    const float share = 1.0f / static_cast<float>(args_.cols), mean = sum_of_row<D>(sums) * share;
    for_each_group([&](float(&values)[D::kGroup], int column, int) {
#pragma unroll
      for (int i = 0; i < D::kGroup; ++i) {
        values[i] = kRows == Rows::full || column + i < args_.cols ? values[i] - mean : 0.0f;
        deviations[i / kHalf] += values[i];
        squares[i / kHalf] += values[i] * values[i];
      }
    });
    const float correction = sum_of_row<D>(deviations) * share;
    const float variance = fmaxf(0.0f, sum_of_row<D>(squares) * share - correction * correction);
    const float factor = rsqrtf(variance + args_.eps);
    if (!exists) return;
    for_each_group([&](float(&values)[D::kGroup], int column, int group) {
      const int weights = D::kHasWeights ? group : 0;
      if constexpr (!D::kHasWeights) load_weights(0, column);
#pragma unroll
      for (int i = 0; i < D::kGroup; ++i) {
        const float deviation = D::kGroups > 0 ? values[i] : values[i] - mean;
        values[i] = (deviation - correction) * factor * scale_[weights][i] + bias_[weights][i];
      }
      if constexpr (D::kGroups == 0) finish(row, column, kept);
    });
    if constexpr (D::kGroups > 0) finish(row, first_column_, kept);
  }

 private:
  // Groups of the row's result, the first at `column`.
  __device__ void finish(std::int64_t row, int column, typename D::Values& values) const {
    Y* const y = static_cast<Y*>(args_.y) + row * args_.y_row_stride;
    activate_all<Y>(values, args_.activation);
#pragma unroll
    for (int i = 0; i < D::kKept; ++i, column += D::kLanes * D::kGroup) {
      if (kRows == Rows::full) {
        store_group(y + column, values[i]);
      } else {
        store_columns(y, values[i], column, args_.cols, is_vectorised_);
      }
      if constexpr (std::is_same_v<X, float> && std::is_same_v<Y, float>) {
        if (args_.extra != nullptr) store_extra(args_, row, column, is_vectorised_, values[i]);
      }
    }
  }
  __device__ void load_weights(int i, int column) {
    load_columns(scale_[i], args_.scale, column, args_.cols, is_vectorised_);
    load_columns(bias_[i], args_.bias, column, args_.cols, is_vectorised_);
  }

  const LayerNormArgs& args_;
  bool is_vectorised_;
  int first_column_;
  float scale_[D::kHasWeights ? D::kKept : 1][D::kGroup], bias_[D::kHasWeights ? D::kKept : 1][D::kGroup];
};

template <typename D>
__device__ std::int64_t first_row() {
  return (std::int64_t{blockIdx.x} * kThreads + static_cast<int>(threadIdx.x)) / D::kLanes;
}

template <typename X, typename Y, typename D>
__global__ void __launch_bounds__(kThreads) few_rows_kernel(const __grid_constant__ LayerNormLaunch launch) {
  using Norm = RowNorm<X, Y, D, Rows::any>;
  Norm norm(launch);
  dependent_launch();
  const std::int64_t row = first_row<D>();
  if (row / D::kWarpRows * D::kWarpRows >= launch.args.rows) return;  // the whole warp
  typename Norm::Raw raw[D::kKept] = {};
  norm.load(row, raw);
  norm.run(row, raw);
}

template <typename X, typename Y, typename D, Rows kRows>
__global__ void __launch_bounds__(kThreads, kBlocks) many_rows_kernel(const __grid_constant__ LayerNormLaunch launch) {
  using Norm = RowNorm<X, Y, D, kRows>;
  __shared__ typename Norm::Raw ring[kStages][D::kKept][kThreads];
  Norm norm(launch);
  const auto own = [&](int stage) { return &ring[stage][0][threadIdx.x]; };
  dependent_launch();
  const std::int64_t rows = launch.args.rows, step = std::int64_t{gridDim.x} * (kThreads / D::kLanes);
  std::int64_t row = first_row<D>();
#pragma unroll
  for (int stage = 0; stage + 1 < kStages; ++stage) {
    norm.start_copies(row + stage * step, own(stage));
    ptx::cp_async_commit_group();
  }
  // All rows of a warp or none: its lanes stay together.
  for (int stage = 0; row / D::kWarpRows * D::kWarpRows < rows; row += step, stage = (stage + 1) % kStages) {
    ptx::cp_async_wait_group<kStages - 2>();
    typename Norm::Raw raw[D::kKept] = {};
#pragma unroll
    for (int i = 0; i < D::kGroups; ++i) {
      if (kRows == Rows::full || norm.column_of(i) < launch.args.cols) raw[i] = own(stage)[i * kThreads];
    }
    norm.start_copies(row + (kStages - 1) * step, own((stage + kStages - 1) % kStages));
    ptx::cp_async_commit_group();
    norm.run(row, raw);
  }
}

template <typename X, typename Y, int kLanes, int kGroups>
void choose_kernel(const LayerNormLaunch& parameters, CudaStream stream) {
  using Few = typename Divisions<X, kLanes, kGroups>::Few;
  using Many = typename Divisions<X, kLanes, kGroups>::Many;
  const auto blocks = [&](int lanes) { return ceil_divide(parameters.args.rows, kThreads / lanes); };
  if constexpr (kGroups > 0 && kGroups <= kMostCopied) {
    if (parameters.is_vectorised && blocks(Many::kLanes) > kMostBlocks) {
      const bool is_full = parameters.args.cols == kLanes * kGroups * Many::kGroup;
      const auto kernel =
          is_full ? many_rows_kernel<X, Y, Many, Rows::full> : many_rows_kernel<X, Y, Many, Rows::grouped>;
      return launch("layer_norm", kernel, kMostBlocks, kThreads, 0, stream, parameters);
    }
  }
  launch("layer_norm", few_rows_kernel<X, Y, Few>, blocks(Few::kLanes), kThreads, 0, stream, parameters);
}

template <typename X, typename Y>
void choose_division(const LayerNormLaunch& parameters, CudaStream stream) {
  // Whatever leaves the fewest lanes idle.
  const int cols = parameters.args.cols;
  if constexpr (sizeof(X) == sizeof(float)) {
    if (cols <= 128) return choose_kernel<X, Y, 32, 1>(parameters, stream);
    if (cols <= 192) return choose_kernel<X, Y, 16, 3>(parameters, stream);
    if (cols <= 256) return choose_kernel<X, Y, 32, 2>(parameters, stream);
    if (cols <= 384) return choose_kernel<X, Y, 32, 3>(parameters, stream);
    if (cols <= 1024) return choose_kernel<X, Y, 32, 8>(parameters, stream);
  } else {
    if (cols <= 128) return choose_kernel<X, Y, 8, 2>(parameters, stream);
    if (cols <= 192) return choose_kernel<X, Y, 8, 3>(parameters, stream);
    if (cols <= 256) return choose_kernel<X, Y, 16, 2>(parameters, stream);
    if (cols <= 384) return choose_kernel<X, Y, 16, 3>(parameters, stream);
    if (cols <= 512) return choose_kernel<X, Y, 32, 2>(parameters, stream);
    if (cols <= 768) return choose_kernel<X, Y, 32, 3>(parameters, stream);
    if (cols <= 1024) return choose_kernel<X, Y, 32, 4>(parameters, stream);
  }
  choose_kernel<X, Y, 32, 0>(parameters, stream);
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
  check_grid(args);
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
