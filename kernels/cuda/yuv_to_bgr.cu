// A thread owns four pixels of two rows, which share two samples of each kind of chroma: a word of each row's luma and
// one of chroma in, three words a row out. Byte by byte at a row's end, and where rows do not begin at words. Limited
// by memory.
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/yuv_to_bgr.h"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kGroup = 4;  // pixels

struct YuvLaunch {
  YuvToBgrArgs args;
  YuvWeights weights;
  int groups_across;
  bool is_aligned;  // all rows begin at words
};

struct Chroma {
  std::int32_t blue, green, red;
};

__device__ std::uint32_t rounded(std::int32_t sum) {
  return static_cast<std::uint32_t>(min(max((sum + (1 << (kYuvBits - 1))) >> kYuvBits, 0), 255));
}

// Blue, green and red in the lower three bytes.
__device__ std::uint32_t pixel(const YuvWeights& w, std::uint32_t y, const Chroma& chroma) {
  const std::int32_t luma = (static_cast<std::int32_t>(y) - w.black) * w.luma;
  return rounded(luma + chroma.blue) | rounded(luma + chroma.green) << 8 | rounded(luma + chroma.red) << 16;
}

// The `count` bytes from `from` on, at most four, the first in the lowest byte.
__device__ std::uint32_t load_bytes(const std::uint8_t* from, int count, bool is_word) {
  if (is_word) return *reinterpret_cast<const std::uint32_t*>(from);
  std::uint32_t word = 0;
  for (int i = 0; i < count; ++i) word |= std::uint32_t{from[i]} << (8 * i);
  return word;
}

__device__ void store_pixels(std::uint8_t* to, const std::uint32_t (&pixels)[kGroup], int count, bool are_words) {
  if (are_words) {
    auto* words = reinterpret_cast<std::uint32_t*>(to);
    words[0] = pixels[0] | pixels[1] << 24;
    words[1] = pixels[1] >> 8 | pixels[2] << 16;
    words[2] = pixels[2] >> 16 | pixels[3] << 8;
    return;
  }
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    if (i >= count) return;
#pragma unroll
    for (int c = 0; c < 3; ++c) to[3 * i + c] = static_cast<std::uint8_t>(pixels[i] >> (8 * c));
  }
}

__global__ void __launch_bounds__(kThreads) yuv_to_bgr_kernel(const __grid_constant__ YuvLaunch launch) {
  dependent_launch();
  const YuvToBgrArgs& args = launch.args;
  const YuvWeights& w = launch.weights;
  const auto [pair, group] = divide(thread_of_grid<kThreads>(), launch.groups_across);
  const int x = group * kGroup, count = min(args.width - x, kGroup);
  if (2 * pair >= args.height) return;
  const bool are_words = launch.is_aligned && count == kGroup;
  const std::uint32_t samples = load_bytes(args.u + pair * args.chroma_row_bytes + x, (count + 1) / 2 * 2, are_words);
  Chroma chroma[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::int32_t u = static_cast<std::int32_t>((samples >> (16 * i)) & 0xffu) - 128;
    const std::int32_t v = static_cast<std::int32_t>((samples >> (16 * i + 8)) & 0xffu) - 128;
    chroma[i] = {w.blue_u * u, w.green_u * u + w.green_v * v, w.red_v * v};
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::int64_t row = 2 * pair + i;
    if (row >= args.height) return;
    const std::uint32_t luma = load_bytes(args.y + row * args.y_row_bytes + x, count, are_words);
    std::uint32_t pixels[kGroup];
#pragma unroll
    for (int j = 0; j < kGroup; ++j) pixels[j] = pixel(w, (luma >> (8 * j)) & 0xffu, chroma[j / 2]);
    store_pixels(args.bgr + row * args.bgr_row_bytes + 3 * x, pixels, count, are_words);
  }
}

}  // namespace

void yuv_to_bgr(const YuvToBgrArgs& args, CudaStream stream) {
  require_valid(args);
  if (args.chroma_step != 2 || args.v != args.u + 1) {
    fail(Error::Code::unsupported, "yuv_to_bgr: u and v lie in planes of their own; on CUDA they alternate");
  }
  const auto all = reinterpret_cast<std::uintptr_t>(args.y) | reinterpret_cast<std::uintptr_t>(args.u) |
                   reinterpret_cast<std::uintptr_t>(args.bgr) | static_cast<std::uintptr_t>(args.y_row_bytes) |
                   static_cast<std::uintptr_t>(args.chroma_row_bytes) | static_cast<std::uintptr_t>(args.bgr_row_bytes);
  const YuvLaunch parameters{args, yuv_weights(args.matrix, args.is_full_range), (args.width + kGroup - 1) / kGroup,
                             all % sizeof(std::uint32_t) == 0};
  const std::int64_t threads = (std::int64_t{args.height} + 1) / 2 * parameters.groups_across;
  launch("yuv_to_bgr", yuv_to_bgr_kernel, ceil_divide(threads, kThreads), kThreads, 0, stream, parameters);
}

}  // namespace vistazo::cuda
