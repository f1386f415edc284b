// Attention in f32 without TF32: the reference precision, simple rather than fast.
//
// A block of 128 threads does 64 queries of one (batch entry, head); 8 threads share 4 queries. Of a tile of 32 keys a
// thread computes the scores of 4 queries with 4 keys, and then an eighth of the columns of 4 rows of the output. The
// weights pass through shared memory within the warp. Every operand of a product comes from shared memory, 64
// multiply-adds for 8 reads of 16 bytes in S = Q K^T, which is what limits it.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/load_rows.cuh"
#include "kernels/cuda/attention/softmax.cuh"
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/dynamic_shared.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kLanes = 8;  // threads that share kRows queries
constexpr int kRows = 4;
constexpr int kTileQueries = kThreads / kLanes * kRows;
constexpr int kTileKeys = 32;
constexpr int kKeys = kTileKeys / kLanes;     // of a thread: lane, lane + 8, ...
constexpr int kWeightStride = kTileKeys + 2;  // pairs stay aligned; four rows apart is 8 banks apart: no conflicts

template <int kDim>
inline constexpr int kStride = kSharedStride<float, kDim>;
template <int kDim>
inline constexpr int kSharedFloats = (kTileQueries + 2 * kTileKeys) * kStride<kDim> + kTileQueries* kWeightStride;

__device__ float4 load4(const float* shared) {
  return *reinterpret_cast<const float4*>(shared);
}

// Largest or sum over the threads that share queries.
template <typename Operation>
__device__ float reduce_lanes(float x, Operation operation) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    x = operation(x, __shfl_xor_sync(kWholeWarp, x, distance));
  }
  return x;
}

template <int kDim>
__device__ void multiply_keys(float (&scores)[kRows][kKeys], const float* queries, const float* keys) {
#pragma unroll 4
  for (int d = 0; d < kDim; d += 4) {
    float4 k[kKeys];
#pragma unroll
    for (int j = 0; j < kKeys; ++j) k[j] = load4(keys + j * kLanes * kStride<kDim> + d);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const float4 q = load4(queries + i * kStride<kDim> + d);
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        scores[i][j] += q.x * k[j].x;
        scores[i][j] += q.y * k[j].y;
        scores[i][j] += q.z * k[j].z;
        scores[i][j] += q.w * k[j].w;
      }
    }
  }
}

// out = out * correction + P V. A tile is summed from zero: rounding errors then grow with the number of tiles plus the
// length of one, not with the number of keys.
template <int kDim>
__device__ void multiply_values(float (&out)[kRows][kDim / kLanes], const float (&correction)[kRows],
                                const float* weights, const float* values) {
#pragma unroll
  for (int d = 0; d < kDim / kLanes; d += 4) {
    float sum[kRows][4] = {};
#pragma unroll 2
    for (int j = 0; j < kTileKeys; j += 2) {
      const float4 first = load4(values + j * kStride<kDim> + d * kLanes);
      const float4 second = load4(values + (j + 1) * kStride<kDim> + d * kLanes);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const float2 weight = *reinterpret_cast<const float2*>(weights + i * kWeightStride + j);
        sum[i][0] += weight.x * first.x;
        sum[i][1] += weight.x * first.y;
        sum[i][2] += weight.x * first.z;
        sum[i][3] += weight.x * first.w;
        sum[i][0] += weight.y * second.x;
        sum[i][1] += weight.y * second.y;
        sum[i][2] += weight.y * second.z;
        sum[i][3] += weight.y * second.w;
      }
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int c = 0; c < 4; ++c) out[i][d + c] = out[i][d + c] * correction[i] + sum[i][c];
    }
  }
}

// kDim is the larger of head_dim and value_dim, padded to 32, 64 or 128.
template <int kDim>
__global__ void __launch_bounds__(kThreads) attention_f32_kernel(const __grid_constant__ AttentionLaunch launch) {
  dependent_launch();
  float* const shared_queries = reinterpret_cast<float*>(dynamic_shared());
  float* const shared_keys = shared_queries + kTileQueries * kStride<kDim>;
  float* const shared_values = shared_keys + kTileKeys * kStride<kDim>;
  float* const shared_weights = shared_values + kTileKeys * kStride<kDim>;
  const AttentionArgs& args = launch.args;
  const int lane = static_cast<int>(threadIdx.x) % kLanes, first_row = static_cast<int>(threadIdx.x) / kLanes * kRows;
  const int pair = static_cast<int>(blockIdx.x) / launch.query_tiles;
  const int first_query = static_cast<int>(blockIdx.x) % launch.query_tiles * kTileQueries;
  const std::int64_t b = pair / args.heads, h = pair % args.heads;
  const float* q_rows = static_cast<const float*>(args.q.data) + b * args.q.batch_stride + h * args.head_dim;
  const float* k_rows = static_cast<const float*>(args.k.data) + b * args.k.batch_stride + h * args.head_dim;
  const float* v_rows = static_cast<const float*>(args.v.data) + b * args.v.batch_stride + h * args.value_dim;
  load_rows<float, kDim, kTileQueries, kThreads>(shared_queries, q_rows + first_query * args.q.row_stride,
                                                 args.q.row_stride, args.queries - first_query, args.head_dim,
                                                 launch.q_copy);
  float* const weights = shared_weights + first_row * kWeightStride;
  const float sign = launch.is_q_negated ? -1.0f : 1.0f;

  float out[kRows][kDim / kLanes] = {}, sum[kRows] = {}, shift[kRows];
#pragma unroll
  for (float& s : shift) s = -INFINITY;
  for (int first_key = 0; first_key < args.keys; first_key += kTileKeys) {
    const int keys = args.keys - first_key;
    __syncthreads();  // all have read the last tile
    load_rows<float, kDim, kTileKeys, kThreads>(shared_keys, k_rows + first_key * args.k.row_stride, args.k.row_stride,
                                                keys, args.head_dim, launch.k_copy);
    load_rows<float, kDim, kTileKeys, kThreads>(shared_values, v_rows + first_key * args.v.row_stride,
                                                args.v.row_stride, keys, args.value_dim, launch.v_copy);
    ptx::cp_async_wait_all();
    __syncthreads();
    float scores[kRows][kKeys] = {}, correction[kRows];
    multiply_keys<kDim>(scores, shared_queries + first_row * kStride<kDim>, shared_keys + lane * kStride<kDim>);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float largest = shift[i];
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        scores[i][j] = lane + j * kLanes < keys ? scores[i][j] * sign : -INFINITY;
        largest = fmaxf(largest, scores[i][j]);
      }
      largest = reduce_lanes(largest, [](float x, float y) { return fmaxf(x, y); });
      correction[i] = exp2f((shift[i] - largest) * launch.scale_log2);
      shift[i] = largest;
      float tile_sum = 0.0f;
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        const float weight = exp2f((scores[i][j] - largest) * launch.scale_log2);
        tile_sum += weight;
        weights[i * kWeightStride + lane + j * kLanes] = weight;
      }
      sum[i] = sum[i] * correction[i] + tile_sum;
    }
    __syncwarp();  // the 8 threads of a row are of one warp
    multiply_values<kDim>(out, correction, weights, shared_values + lane * 4);
  }
  float* out_rows = static_cast<float*>(args.out) + b * args.out_batch_stride + h * args.value_dim;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const float inverse = 1.0f / reduce_lanes(sum[i], [](float x, float y) { return x + y; });
    const int row = first_query + first_row + i;
    if (row >= args.queries) continue;
#pragma unroll
    for (int d = 0; d < kDim / kLanes; ++d) {
      const int column = d / 4 * 4 * kLanes + lane * 4 + d % 4;
      if (column < args.value_dim) out_rows[row * args.out_row_stride + column] = out[i][d] * inverse;
    }
  }
}

template <int kDim>
void launch_kernel(const AttentionLaunch& parameters, CudaStream stream) {
  const std::int64_t pairs = std::int64_t{parameters.args.batch} * parameters.args.heads;
  launch("attention", attention_f32_kernel<kDim>, pairs * parameters.query_tiles, kThreads,
         kSharedFloats<kDim> * sizeof(float), stream, parameters);
}

}  // namespace

void attention_f32(AttentionLaunch parameters, CudaStream stream) {
  parameters.query_tiles = (parameters.args.queries + kTileQueries - 1) / kTileQueries;
  const int dim = std::max(parameters.args.head_dim, parameters.args.value_dim);
  if (dim <= 32) return launch_kernel<32>(parameters, stream);
  if (dim <= 64) return launch_kernel<64>(parameters, stream);
  launch_kernel<128>(parameters, stream);
}

}  // namespace vistazo::cuda
