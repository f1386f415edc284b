// Times the CUDA kernels that are neither attention nor matrix products, at the sizes of RF-DETR-N with one image and
// of RF-DETR-L with 16: a graph of many launches, replayed; the median, as microseconds of one call, and the bytes that
// it must read and write per second. Rows of a Markdown table. Inputs stay in the second-level cache where they fit, as
// they do in a model.
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/boxes.h"
#include "kernels/deformable_attention.h"
#include "kernels/depth_to_space.h"
#include "kernels/detections.h"
#include "kernels/elementwise.h"
#include "kernels/gates.h"
#include "kernels/image_resize.h"
#include "kernels/layer_norm.h"
#include "kernels/map_resize.h"
#include "kernels/pooling.h"
#include "kernels/rows.h"
#include "kernels/sine_embedding.h"
#include "kernels/top_k.h"
#include "kernels/yuv_to_bgr.h"
#include "tests/cuda/device_buffer.h"
#include "tests/support/yuv_frames.h"

namespace vistazo {
namespace {

using testing::DeviceArray;
using testing::DeviceBuffer;

// Normal values around a mean: a short run of them, repeated from another place.
std::vector<float> random_values(std::size_t count, float mean = 0.0f, float deviation = 1.0f) {
  static std::mt19937 generator(1);
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> pool(65521), values(count);
  for (float& x : pool) x = normal(generator);
  std::size_t at = generator() % pool.size();
  for (float& x : values) x = pool[at++ % pool.size()];
  return values;
}

float* floats(const DeviceBuffer& buffer) {
  return static_cast<float*>(buffer.data());
}

// Microseconds of one call: a call's share of a graph of many.
double time_us(const std::function<void(CudaStream)>& call) {
  constexpr int kCalls = 20, kReplays = 40;
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replayed = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  check_cuda(cudaEventCreate(&begin), "cudaEventCreate");
  check_cuda(cudaEventCreate(&end), "cudaEventCreate");
  call(stream);
  check_cuda(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  for (int i = 0; i < kCalls; ++i) call(stream);
  check_cuda(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  check_cuda(cudaGraphInstantiate(&replayed, graph, 0), "cudaGraphInstantiate");
  std::vector<float> times;
  for (int i = 0; i < kReplays; ++i) {
    check_cuda(cudaEventRecord(begin, stream), "cudaEventRecord");
    check_cuda(cudaGraphLaunch(replayed, stream), "cudaGraphLaunch");
    check_cuda(cudaEventRecord(end, stream), "cudaEventRecord");
    check_cuda(cudaEventSynchronize(end), "cudaEventSynchronize");
    float ms = 0;
    check_cuda(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
    if (i >= kReplays / 4) times.push_back(ms * 1000.0f / kCalls);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(replayed);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  std::ranges::sort(times);
  return times[times.size() / 2];
}

void report(const std::string& name, double bytes, const std::function<void(CudaStream)>& call) {
  const double us = time_us(call);
  fmt::print("| {} | {:.2f} | {:.0f} |\n", name, us, bytes / us / 1000);
  std::fflush(stdout);
}

struct Size {
  int batch, side;  // images, patches along a side
};

constexpr int kDim = 384, kQueries = 300, kClasses = 91;

void bench_trunk(const Size& s) {
  const std::size_t patches = std::size_t(s.side) * s.side;
  const WindowGrid grid{s.side, s.side, 2, 1};
  const std::int64_t rows = std::int64_t{s.batch} * grid.tokens();
  const double elements = static_cast<double>(rows) * kDim;
  const DeviceBuffer pixels(random_values(s.batch * patches * 768), DType::f32),
      wide(std::size_t(rows) * 768, DType::bf16), x(random_values(std::size_t(rows) * kDim), DType::f32),
      narrow(random_values(std::size_t(rows) * kDim), DType::bf16), other(std::size_t(rows) * kDim, DType::bf16),
      table(random_values(patches * kDim), DType::f32), scale(random_values(kDim), DType::f32),
      map(s.batch * patches * kDim, DType::bf16);
  const auto norm = [&](const DeviceBuffer& from, DType dtype) {
    return LayerNormArgs{from.data(), other.data(), floats(scale), floats(scale),    rows,  kDim,
                         kDim,        kDim,         1e-6f,         Activation::none, dtype, DType::bf16};
  };
  report("patches 16 x 16, f32 -> bf16", elements * 2 * 6, [&](CudaStream stream) {
    cuda::patches({floats(pixels), wide.data(), s.batch, 3, 16, grid, DType::bf16}, stream);
  });
  report("layer_norm 384, f32 -> bf16", elements * 6,
         [&](CudaStream stream) { cuda::layer_norm(norm(x, DType::f32), stream); });
  report("layer_norm 384, bf16 -> bf16", elements * 4,
         [&](CudaStream stream) { cuda::layer_norm(norm(narrow, DType::bf16), stream); });
  report("add a table, f32 + f32 -> f32", elements * 8, [&](CudaStream stream) {
    cuda::add({x.data(), table.data(), x.data(), rows, static_cast<std::int64_t>(patches), kDim, kDim, kDim, DType::f32,
               DType::f32, DType::f32},
              stream);
  });
  report("cast f32 -> bf16", elements * 6, [&](CudaStream stream) {
    cuda::add({x.data(), nullptr, other.data(), rows, 1, kDim, kDim, kDim, DType::f32, DType::f32, DType::bf16},
              stream);
  });
  report("windows_to_grid bf16", elements * 4, [&](CudaStream stream) {
    cuda::windows_to_grid({narrow.data(), map.data(), s.batch, kDim, kDim, grid, DType::bf16}, stream);
  });
  report("depth_to_space bf16", elements * 4, [&](CudaStream stream) {
    cuda::depth_to_space({narrow.data(), map.data(), s.batch, s.side, s.side, kDim / 4, DType::bf16}, stream);
  });
}

void bench_decoder(const Size& s) {
  const int proposals = s.side * s.side, rows = s.batch * kQueries;
  const DeviceBuffer logits(random_values(std::size_t(s.batch) * proposals * kClasses, -5.0f), DType::f32),
      boxes(random_values(std::size_t(std::max(proposals, rows)) * 4, 0.5f, 0.1f), DType::f32),
      scores(random_values(std::size_t(s.batch) * proposals, -3.0f), DType::f32),
      memory(random_values(std::size_t(s.batch) * proposals * 256), DType::bf16),
      gathered(std::size_t(rows) * 256, DType::bf16), sines(std::size_t(rows) * 512, DType::bf16),
      offsets(random_values(std::size_t(rows) * 16 * 2 * 3), DType::f32), refined(std::size_t(rows) * 4, DType::f32);
  const DeviceArray<std::int32_t> index(static_cast<std::size_t>(rows));
  report("proposal_scores, 91 classes", 364.0 * s.batch * proposals, [&](CudaStream stream) {
    cuda::proposal_scores({floats(logits), floats(boxes), floats(scores), s.batch, proposals, kClasses}, stream);
  });
  TopKArgs top{floats(scores), nullptr, index.data(), s.batch, proposals, kQueries, nullptr};
  const DeviceArray<std::byte> scratch(cuda::top_k_scratch_bytes(top));
  top.scratch = scratch.data();
  report(fmt::format("top_k 300 of {}", proposals), 4.0 * s.batch * proposals,
         [&](CudaStream stream) { cuda::top_k(top, stream); });
  report("gather_rows 300 x 256 bf16", 1024.0 * rows, [&](CudaStream stream) {
    cuda::gather_rows(
        {memory.data(), index.data(), gathered.data(), s.batch, proposals, kQueries, 256, false, DType::bf16}, stream);
  });
  report("refine_boxes", 48.0 * rows, [&](CudaStream stream) {
    cuda::refine_boxes({floats(boxes), floats(boxes), floats(refined), rows, rows}, stream);
  });
  report("sine_embedding 4 x 128 bf16", 1024.0 * rows, [&](CudaStream stream) {
    cuda::sine_embedding({floats(boxes), sines.data(), rows, 128, 10000.0f, DType::bf16}, stream);
  });
  DeformableAttentionArgs attention{};
  attention.value = memory.data();
  attention.reference = floats(boxes);
  attention.offset_logits = floats(offsets);
  attention.out = gathered.data();
  attention.batch = s.batch;
  attention.queries = kQueries;
  attention.heads = 16;
  attention.head_dim = 16;
  attention.levels = 1;
  attention.level_points[0] = 2;
  attention.level_height[0] = attention.level_width[0] = s.side;
  attention.value_row_stride = 256;
  attention.dtype = DType::bf16;
  report("deformable_attention 16 x 16, 2 points", rows * 16.0 * (24 + 8 * 32 + 32),
         [&](CudaStream stream) { cuda::deformable_attention(attention, stream); });
}

// Three levels of 4 points, as RT-DETR has them.
void bench_three_levels(int batch) {
  constexpr int kArea = 8400, kHeads = 8, kHeadDim = 32;
  const int rows = batch * kQueries;
  const DeviceBuffer memory(random_values(std::size_t(batch) * kArea * 256), DType::bf16),
      boxes(random_values(std::size_t(rows) * 4, 0.5f, 0.1f), DType::f32),
      offsets(random_values(std::size_t(rows) * kHeads * 12 * 3), DType::f32),
      out(std::size_t(rows) * 256, DType::bf16);
  DeformableAttentionArgs args{};
  args.value = memory.data();
  args.reference = floats(boxes);
  args.offset_logits = floats(offsets);
  args.out = out.data();
  args.batch = batch;
  args.queries = kQueries;
  args.heads = kHeads;
  args.head_dim = kHeadDim;
  args.levels = 3;
  for (int level = 0; level < 3; ++level) {
    args.level_points[level] = 4;
    args.level_height[level] = args.level_width[level] = 80 >> level;
  }
  args.value_row_stride = 256;
  args.dtype = DType::bf16;
  report(fmt::format("deformable_attention 8 x 32, 3 levels of 4 points, batch {}", batch),
         rows * 8.0 * (12 * 12 + 48 * 64 + 64), [&](CudaStream stream) { cuda::deformable_attention(args, stream); });
}

// Maps of RT-DETR-R18 at 640 x 640, and DEIMv2-S's gates.
void bench_maps(int batch) {
  constexpr int kSide = 320, kChannels = 64, kGates = 1024;
  const std::size_t pixels = std::size_t(batch) * kSide * kSide;
  const std::int64_t rows = std::int64_t{batch} * 1600;
  const DeviceBuffer x(random_values(pixels * kChannels), DType::bf16), y(pixels * kChannels, DType::bf16),
      planes(random_values(std::size_t(batch) * 3 * 640 * 640), DType::f32);
  report(fmt::format("channels last 640 x 640, batch {}", batch), batch * 3.0 * 640 * 640 * 6, [&](CudaStream stream) {
    cuda::patches({floats(planes), y.data(), batch, 3, 1, {640, 640, 1, 0}, DType::bf16}, stream);
  });
  const PoolingWindow window{.height = 3, .width = 3, .stride = 2, .padding = 1};
  report(fmt::format("pooling 3 x 3, 320 x 320 x 64, batch {}", batch), pixels * kChannels * 2.5,
         [&](CudaStream stream) {
           cuda::pooling({x.data(), y.data(), batch, kSide, kSide, kChannels, window, Pooling::max, kChannels,
                          kChannels, DType::bf16},
                         stream);
         });
  report(fmt::format("map_resize 40 x 40 x 256 to 80 x 80, batch {}", batch), batch * 256.0 * (1600 + 6400) * 2,
         [&](CudaStream stream) {
           cuda::map_resize(
               {x.data(), y.data(), batch, 40, 40, 80, 80, 256, MapInterpolation::nearest, 256, 256, DType::bf16},
               stream);
         });
  report(fmt::format("swiglu {} x {}", rows, kGates), rows * kGates * 6.0, [&](CudaStream stream) {
    cuda::swiglu({x.data(), y.data(), rows, kGates, 2 * kGates, DType::bf16}, stream);
  });
}

void bench_selection(int batch, int queries, int classes, float min_logit) {
  const std::size_t pairs = std::size_t(queries) * classes;
  const DeviceBuffer logits(random_values(batch * pairs, -5.0f), DType::f32),
      boxes(random_values(std::size_t(batch) * queries * 4, 0.5f, 0.1f), DType::f32);
  const DeviceArray<DetectionCandidate> candidates(std::size_t(batch) * 300);
  const DeviceArray<std::int32_t> count(static_cast<std::size_t>(batch));
  SelectDetectionsArgs args{floats(logits), floats(boxes), candidates.data(), count.data(), batch, queries,
                            classes,        300,           min_logit,         nullptr};
  const DeviceArray<std::byte> scratch(cuda::select_detections_scratch_bytes(args));
  args.scratch = scratch.data();
  report(fmt::format("select_detections, batch {}, {} x {}, logits from {}", batch, queries, classes, min_logit),
         4.0 * batch * pairs, [&](CudaStream stream) { cuda::select_detections(args, stream); });
}

void bench_long_top_k(int rows, int cols) {
  const DeviceBuffer scores(random_values(std::size_t(rows) * cols, -3.0f), DType::f32);
  const DeviceArray<std::int32_t> index(std::size_t(rows) * 300);
  TopKArgs args{floats(scores), nullptr, index.data(), rows, cols, 300, nullptr};
  const DeviceArray<std::byte> scratch(cuda::top_k_scratch_bytes(args));
  args.scratch = scratch.data();
  report(fmt::format("top_k 300 of {}, {} rows", cols, rows), 4.0 * rows * cols,
         [&](CudaStream stream) { cuda::top_k(args, stream); });
}

void bench_resize(int height, int width, int side, bool rounding) {
  std::mt19937 generator(2);
  std::vector<std::uint8_t> bytes(std::size_t(height) * width * 3);
  for (auto& b : bytes) b = static_cast<std::uint8_t>(generator() >> 8);
  const DeviceArray<std::uint8_t> pixels(bytes);
  const DeviceBuffer y(std::size_t(3) * side * side, DType::f32);
  ImageResizeArgs args{};
  args.pixels = pixels.data();
  args.height = height;
  args.width = width;
  args.row_bytes = std::int64_t{width} * 3;
  args.order = PixelOrder::rgb;
  args.y = floats(y);
  args.canvas_height = args.canvas_width = args.out_height = args.out_width = side;
  args.rescale = 1.0f / 255;
  std::fill_n(args.std, 3, 0.25f);
  args.antialias = true;
  args.rounding = rounding;
  const DeviceArray<std::byte> scratch(cuda::image_resize_scratch_bytes(args));
  args.scratch = scratch.data();
  report(fmt::format("image_resize {} x {} -> {}{}", width, height, side, rounding ? ", rounded" : ""),
         3.0 * height * width + 12.0 * side * side, [&](CudaStream stream) { cuda::image_resize(args, stream); });
}

void bench_yuv(int height, int width) {
  const testing::YuvFrame frame(height, width, 2, 0, 1);
  const DeviceArray<std::uint8_t> y(frame.y), chroma(frame.chroma), bgr(std::size_t(3) * height * width);
  YuvToBgrArgs args = frame.args;
  args.y = y.data();
  args.u = chroma.data();
  args.v = args.u + 1;
  args.bgr = bgr.data();
  report(fmt::format("yuv_to_bgr {} x {}", width, height), 4.5 * height * width,
         [&](CudaStream stream) { cuda::yuv_to_bgr(args, stream); });
}

void bench_all() {
  for (const Size& size : {Size{1, 24}, Size{16, 44}}) {
    fmt::print("batch {}, {} x {} patches\n| kernel | us | GB/s |\n", size.batch, size.side, size.side);
    bench_trunk(size);
    bench_decoder(size);
  }
  fmt::print("others\n");
  for (const int batch : {1, 16}) {
    bench_three_levels(batch);
    bench_maps(batch);
    bench_selection(batch, 300, 91, -1e9f);
    bench_selection(batch, 300, 91, 0.0f);
    bench_long_top_k(batch, 8400);
  }
  bench_selection(1, 900, 365, -1e9f);
  for (const bool rounding : {true, false}) {
    bench_resize(480, 640, 384, rounding);
    bench_resize(1080, 1920, 640, rounding);
    bench_resize(3000, 4000, 640, rounding);
  }
  bench_yuv(1080, 1920);
}

}  // namespace
}  // namespace vistazo

int main() {
  try {
    vistazo::bench_all();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
