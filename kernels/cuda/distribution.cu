// A warp owns a box, eight lanes an edge: its bins go to the lanes in turn, in f32. Peaks are found one after the
// other, each the best of those behind the last one, on the logits, in whose order the probabilities are. Limited by
// the launch: a few hundred boxes of 33 bins.
#include "kernels/base/error.h"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"
#include "kernels/distribution.h"

namespace vistazo::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kEdgeLanes = 8;

// The warp's box, and this lane's edge of it.
struct Edge {
  std::int64_t row;
  const float* logits;
  int edge, lane;  // of 4; of kEdgeLanes

  __device__ explicit Edge(const EdgeLogits& edges)
      : row(static_cast<std::int64_t>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32),
        edge(static_cast<int>(threadIdx.x) % 32 / kEdgeLanes),
        lane(static_cast<int>(threadIdx.x) % kEdgeLanes) {
    logits = edges.logits + (row * 4 + edge) * edges.bins;
  }
};

// The sum over an edge's lanes, in each of them.
__device__ float sum_of_edge(float x) {
#pragma unroll
  for (int distance = kEdgeLanes / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}

__device__ float largest_logit(const Edge& edge, int bins) {
  float largest = -kInfinity;
  for (int i = edge.lane; i < bins; i += kEdgeLanes) largest = fmaxf(largest, edge.logits[i]);
#pragma unroll
  for (int distance = kEdgeLanes / 2; distance > 0; distance /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, distance));
  }
  return largest;
}

__global__ void __launch_bounds__(kThreads) edge_boxes_kernel(const __grid_constant__ EdgeBoxesArgs args) {
  dependent_launch();
  const Edge edge(args.edges);
  if (edge.row >= args.edges.rows) return;  // the whole warp
  const float largest = largest_logit(edge, args.edges.bins);
  float sum = 0.0f, distance = 0.0f;  // a NaN makes both NaN
  for (int i = edge.lane; i < args.edges.bins; i += kEdgeLanes) {
    const float numerator = expf(edge.logits[i] - largest);
    sum += numerator;
    distance = fmaf(numerator, args.weights[i], distance);
  }
  // Of the edge from the centre, in sizes of the reference. The opposite edge is two edges further.
  const float reach = 0.5f + sum_of_edge(distance) / sum_of_edge(sum) / args.scale;
  const float opposite = __shfl_xor_sync(kAllLanes, reach, 2 * kEdgeLanes);
  if (edge.edge >= 2) return;
  // The first lane of the left edge writes x and width, that of the top edge y and height; y may equal the reference.
  const float* box = args.reference + edge.row * 4 + edge.edge;
  float* y = args.y + edge.row * 4 + edge.edge;
  if (edge.lane != 0) return;
  const float centre = box[0], size = box[2];
  y[0] = centre + 0.5f * (opposite - reach) * size;
  y[2] = (reach + opposite) * size;
}

__global__ void __launch_bounds__(kThreads) edge_peaks_kernel(const __grid_constant__ EdgePeaksArgs args) {
  dependent_launch();
  const Edge edge(args.edges);
  if (edge.row >= args.edges.rows) return;  // the whole warp
  const int bins = args.edges.bins;
  const float largest = largest_logit(edge, bins);
  float sum = 0.0f;
  for (int i = edge.lane; i < bins; i += kEdgeLanes) sum += expf(edge.logits[i] - largest);
  sum = sum_of_edge(sum);

  const std::int64_t first = (edge.row * 4 + edge.edge) * (args.k + 1);
  float last = kInfinity, total = 0.0f;
  int last_bin = -1;  // of equal logits the first comes first
  for (int peak = 0; peak < args.k; ++peak) {
    float best = -kInfinity;
    int best_bin = bins;
    for (int i = edge.lane; i < bins; i += kEdgeLanes) {
      const float logit = edge.logits[i];
      const bool is_behind = logit < last || (logit == last && i > last_bin);
      if (is_behind && (logit > best || (logit == best && i < best_bin))) best = logit, best_bin = i;
    }
#pragma unroll
    for (int distance = kEdgeLanes / 2; distance > 0; distance /= 2) {
      const float other = __shfl_xor_sync(kAllLanes, best, distance);
      const int other_bin = __shfl_xor_sync(kAllLanes, best_bin, distance);
      if (other > best || (other == best && other_bin < best_bin)) best = other, best_bin = other_bin;
    }
    last = best;
    last_bin = best_bin;
    const float value[1] = {expf(best - largest) / sum};
    total += value[0];
    if (edge.lane == 0) store_group(args.y, first + peak, args.y_dtype, value);
  }
  const float mean[1] = {total / static_cast<float>(args.k)};
  if (edge.lane == 0) store_group(args.y, first + args.k, args.y_dtype, mean);
}

void check(const char* op, const EdgeLogits& edges) {
  if (edges.rows < 0 || edges.bins < 1 || edges.bins > EdgeLogits::kMaxBins) {
    fail(Error::Code::argument, "{}: {} rows of {} bins; 1 .. {} bins are wanted", op, edges.rows, edges.bins,
         EdgeLogits::kMaxBins);
  }
}

}  // namespace

void edge_boxes(const EdgeBoxesArgs& args, CudaStream stream) {
  check("edge_boxes", args.edges);
  if (!(args.scale > 0.0f)) fail(Error::Code::argument, "edge_boxes: scale {}; a positive one is wanted", args.scale);
  if (args.edges.rows == 0) return;
  launch("edge_boxes", edge_boxes_kernel, ceil_divide(args.edges.rows, kWarps), kThreads, 0, stream, args);
}

void edge_peaks(const EdgePeaksArgs& args, CudaStream stream) {
  check("edge_peaks", args.edges);
  if (args.k < 1 || args.k > args.edges.bins) {
    fail(Error::Code::argument, "edge_peaks: {} peaks of {} bins", args.k, args.edges.bins);
  }
  if (!is_float(args.y_dtype)) {
    fail(Error::Code::unsupported, "edge_peaks: {}; f32, f16 or bf16 is needed", name_of(args.y_dtype));
  }
  if (args.edges.rows == 0) return;
  launch("edge_peaks", edge_peaks_kernel, ceil_divide(args.edges.rows, kWarps), kThreads, 0, stream, args);
}

}  // namespace vistazo::cuda
