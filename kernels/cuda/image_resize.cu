// Separable resize on CUDA, horizontal first, with the CPU's fixed-point weights: of the rounded path the same pixels,
// of the other the same sums but for the order of additions.
//
// The first kernel fills the weights of both axes in the scratch, a thread per output position, in double without fused
// multiply-adds, as base/resize_axis.h does. In the second a block owns a tile of the canvas, 32 columns a warp wide
// and a row per warp. It goes down the input rows that its tile needs, 16 at a time: first each warp sums the taps of
// its 32 columns over two of those rows, which share the weights that are loaded, into shared memory; then each warp
// adds the rows to its output row. Neighbouring tiles do some rows twice: at a shrinking factor of 5 a quarter more.
//
// An input row is read as aligned words of four bytes, shifted so that four RGB pixels are three words with the
// channels at fixed places. Limited by the instructions per byte, about three.
#include <cstdlib>

#include "kernels/base/error.h"
#include "kernels/base/resize_axis.h"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/image_resize.h"

namespace vistazo::cuda {
namespace {

constexpr int kAxisThreads = 64;
constexpr int kColumns = 32, kWarps = 8, kThreads = 32 * kWarps;
constexpr int kWarpRows = 2, kChunkRows = kWarps * kWarpRows;  // input rows in shared memory at a time
constexpr int kGroupTaps = 4;                                  // pixels that whole words hold
constexpr int kBlocks = 4;                                     // on a multiprocessor: 64 registers a thread
constexpr float kUnit = 1.0f / (1 << kResizeBits);

// Arrays over output positions, in the scratch.
struct Axis {
  int in_size, out_size;
  int taps;  // rows of `weight`, a multiple of kGroupTaps
  std::int32_t *start, *count;
  std::int32_t* weight;  // (taps, out_size); zero from a position's count on
};

struct ResizeLaunch {
  ImageResizeArgs args;
  Axis horizontal, vertical;
  int tiles_across;
  float scale[3], shift[3];                       // y = pixel * scale + shift, by plane
  const std::uint8_t *pixels_begin, *pixels_end;  // of all rows, whatever their order
};

// Position i of an axis, as fill_antialiased() has it. No operation may be fused with the next.
__device__ void fill_antialiased_position(const Axis& axis, int i) {
  const double scale = static_cast<double>(axis.in_size) / axis.out_size;
  const double support = fmax(scale, 1.0), inverse_support = 1.0 / support;
  const double centre = __dmul_rn(i + 0.5, scale);
  const int start = max(static_cast<int>(__dadd_rn(__dadd_rn(centre, -support), 0.5)), 0);
  const int count = min(static_cast<int>(__dadd_rn(__dadd_rn(centre, support), 0.5)), axis.in_size) - start;
  const auto share_at = [&](int tap) {
    const double distance = fabs(__dmul_rn(__dadd_rn(__dadd_rn(tap + start, -centre), 0.5), inverse_support));
    return distance < 1.0 ? 1.0 - distance : 0.0;
  };
  double sum = 0.0;
  for (int tap = 0; tap < count; ++tap) sum = __dadd_rn(sum, share_at(tap));
  std::int32_t* weight = axis.weight + i;
  int used = 1;
  for (int tap = 0; tap < axis.taps; ++tap) {
    std::int32_t fixed = 0;
    if (tap < count) {
      const double share = sum != 0.0 ? share_at(tap) / sum : share_at(tap);
      fixed = static_cast<std::int32_t>(__dadd_rn(0.5, __dmul_rn(share, 1 << kResizeBits)));
    }
    if (fixed != 0) used = tap + 1;
    weight[static_cast<std::int64_t>(tap) * axis.out_size] = fixed;
  }
  axis.start[i] = start;
  axis.count[i] = used;
}

// As fill_two_taps() has it.
__device__ void fill_two_taps_position(const Axis& axis, int i) {
  const double scale = static_cast<double>(axis.in_size) / axis.out_size;
  const double source = fmax(__dadd_rn(__dmul_rn(i + 0.5, scale), -0.5), 0.0);
  const int left = min(static_cast<int>(source), axis.in_size - 1);
  const auto share = static_cast<std::int32_t>(llround(__dmul_rn(source - left, 1 << kResizeBits)));
  const bool has_right = left + 1 < axis.in_size && share > 0;
  for (int tap = 0; tap < axis.taps; ++tap) axis.weight[static_cast<std::int64_t>(tap) * axis.out_size + i] = 0;
  axis.weight[i] = has_right ? (1 << kResizeBits) - share : 1 << kResizeBits;
  if (has_right) axis.weight[static_cast<std::int64_t>(axis.out_size) + i] = share;
  axis.start[i] = left;
  axis.count[i] = has_right ? 2 : 1;
}

__global__ void __launch_bounds__(kAxisThreads) fill_axes_kernel(const __grid_constant__ ResizeLaunch launch) {
  dependent_launch();
  const auto thread = static_cast<int>(thread_of_grid<kAxisThreads>());
  const bool is_horizontal = thread < launch.horizontal.out_size;
  const Axis& axis = is_horizontal ? launch.horizontal : launch.vertical;
  const int i = is_horizontal ? thread : thread - launch.horizontal.out_size;
  if (i >= axis.out_size) return;
  if (launch.args.antialias) {
    fill_antialiased_position(axis, i);
  } else {
    fill_two_taps_position(axis, i);
  }
}

// Sums of a pixel's channels: in 22-bit fixed point, or in floats.
template <bool kRounded>
struct Sums {
  std::conditional_t<kRounded, std::int32_t, float> channel[3];

  __device__ void add(int c, std::uint32_t byte, std::int32_t weight) {
    if constexpr (kRounded) {
      channel[c] += static_cast<std::int32_t>(byte) * weight;
    } else {
      channel[c] = fmaf(static_cast<float>(byte), static_cast<float>(weight) * kUnit, channel[c]);
    }
  }
};

__device__ std::uint32_t rounded_pixel(std::int32_t sum) {
  return static_cast<std::uint32_t>(min(max((sum + (1 << (kResizeBits - 1))) >> kResizeBits, 0), 255));
}

// The horizontal pass for one column and kWarpRows rows from `row` on; rows behind the image repeat its last one.
template <bool kRounded, int kChannels>
__device__ void sum_columns(const ResizeLaunch& launch, int column, int row, Sums<kRounded> (&sums)[kWarpRows]) {
  constexpr int kWords = kChannels;  // of kGroupTaps pixels
  const Axis& axis = launch.horizontal;
  const int count = axis.count[column], groups = (count + kGroupTaps - 1) / kGroupTaps;
  const std::int32_t* weights = axis.weight + column;
  const std::uint8_t* from[kWarpRows];
  bool are_words_inside = true;  // of the pixels' memory; they reach up to 3 bytes beyond the taps on either side
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
    const std::int64_t from_row = min(row + r, launch.args.height - 1);
    from[r] = launch.args.pixels + from_row * launch.args.row_bytes + std::int64_t{axis.start[column]} * kChannels;
    are_words_inside = are_words_inside && from[r] - 3 >= launch.pixels_begin &&
                       from[r] + 4 * (groups * kWords + 1) <= launch.pixels_end;
    sums[r] = {};
  }
  if (!are_words_inside) {  // at the image's two ends, in memory: byte by byte
    for (int tap = 0; tap < count; ++tap, weights += axis.out_size) {
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) {
#pragma unroll
        for (int c = 0; c < kChannels; ++c) sums[r].add(c, from[r][tap * kChannels + c], *weights);
      }
    }
    return;
  }
  std::uint32_t next[kWarpRows];
  int shift[kWarpRows];
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
    const auto misaligned = static_cast<int>(reinterpret_cast<std::uintptr_t>(from[r]) % 4);
    from[r] -= misaligned;
    shift[r] = 8 * misaligned;
    next[r] = *reinterpret_cast<const std::uint32_t*>(from[r]);
  }
#pragma unroll 1
  for (int group = 0; group < groups; ++group) {
    std::int32_t weight[kGroupTaps];
#pragma unroll
    for (int tap = 0; tap < kGroupTaps; ++tap, weights += axis.out_size) weight[tap] = *weights;
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
#pragma unroll
      for (int word = 0; word < kWords; ++word) {
        from[r] += 4;
        const std::uint32_t following = *reinterpret_cast<const std::uint32_t*>(from[r]);
        const std::uint32_t bytes = __funnelshift_r(next[r], following, shift[r]);
        next[r] = following;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int element = 4 * word + i;
          sums[r].add(element % kChannels, (bytes >> (8 * i)) & 0xffu, weight[element / kChannels]);
        }
      }
    }
  }
}

// The input rows of output rows first .. last.
struct RowRange {
  int begin, end;
};

__device__ RowRange rows_of(const Axis& axis, int first, int last) {
  RowRange range{axis.start[first], 0};
  for (int i = first; i <= last; ++i) range.end = max(range.end, axis.start[i] + axis.count[i]);
  return range;
}

template <bool kRounded>
__device__ void write_pixel(const ResizeLaunch& launch, const Sums<kRounded>& sums, std::int64_t place) {
  const ImageResizeArgs& args = launch.args;
  const std::int64_t plane = std::int64_t{args.canvas_height} * args.canvas_width;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    float value;
    if constexpr (kRounded) {
      value = static_cast<float>(rounded_pixel(sums.channel[c]));
    } else {
      value = sums.channel[c];
    }
    const int to = args.order == PixelOrder::bgr ? 2 - c : c;
    args.y[to * plane + place] = fmaf(value, launch.scale[to], launch.shift[to]);
  }
}

template <bool kRounded, int kChannels>
__global__ void __launch_bounds__(kThreads, kBlocks) image_resize_kernel(const __grid_constant__ ResizeLaunch launch) {
  dependent_launch();
  // Rounded pixels, a byte a channel in channel[0]; or sums.
  using Middle = std::conditional_t<kRounded, std::uint32_t, float3>;
  __shared__ Middle middle[kChunkRows][kColumns];
  const ImageResizeArgs& args = launch.args;
  const Axis& vertical = launch.vertical;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const auto [tile_y, tile_x] = divide(blockIdx.x, launch.tiles_across);
  const int x = tile_x * kColumns + lane, y = static_cast<int>(tile_y) * kWarps + warp;
  const int column = x - args.left, row = y - args.top;
  const bool has_column = column >= 0 && column < args.out_width;
  const bool is_pixel = has_column && row >= 0 && row < args.out_height;

  const int first = max(row - warp, 0), last = min(row - warp + kWarps, args.out_height) - 1;
  const RowRange range = first <= last ? rows_of(vertical, first, last) : RowRange{0, 0};
  const int start = is_pixel ? vertical.start[row] : 0, end = is_pixel ? start + vertical.count[row] : 0;
  Sums<kRounded> sums{};
  for (int begin = range.begin; begin < range.end; begin += kChunkRows) {
    if (has_column && begin + warp * kWarpRows < range.end) {
      Sums<kRounded> row_sums[kWarpRows];
      sum_columns<kRounded, kChannels>(launch, column, begin + warp * kWarpRows, row_sums);
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) {
        const auto& channel = row_sums[r].channel;
        constexpr int kSecond = kChannels == 1 ? 0 : 1, kThird = kChannels == 1 ? 0 : 2;
        if constexpr (kRounded) {
          middle[warp * kWarpRows + r][lane] =
              rounded_pixel(channel[0]) | rounded_pixel(channel[kSecond]) << 8 | rounded_pixel(channel[kThird]) << 16;
        } else {
          middle[warp * kWarpRows + r][lane] = {channel[0], channel[kSecond], channel[kThird]};
        }
      }
    }
    __syncthreads();
    for (int tap_row = max(start, begin); tap_row < min(end, begin + kChunkRows); ++tap_row) {
      const std::int32_t weight = vertical.weight[static_cast<std::int64_t>(tap_row - start) * vertical.out_size + row];
      const Middle pixel = middle[tap_row - begin][lane];
      if constexpr (kRounded) {
#pragma unroll
        for (int c = 0; c < 3; ++c) sums.add(c, (pixel >> (8 * c)) & 0xffu, weight);
      } else {
        const float factor = static_cast<float>(weight) * kUnit;
        sums.channel[0] = fmaf(pixel.x, factor, sums.channel[0]);
        sums.channel[1] = fmaf(pixel.y, factor, sums.channel[1]);
        sums.channel[2] = fmaf(pixel.z, factor, sums.channel[2]);
      }
    }
    __syncthreads();
  }
  if (x >= args.canvas_width || y >= args.canvas_height) return;
  const std::int64_t place = std::int64_t{y} * args.canvas_width + x;
  if (is_pixel) return write_pixel(launch, sums, place);
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    args.y[c * std::int64_t{args.canvas_height} * args.canvas_width + place] = args.pad_value[c];
  }
}

void check(const ImageResizeArgs& args) {
  constexpr int kLargest = 1 << 24;  // a side; taps and sums of this many are far from the limits of int
  const auto is_size = [](int size) { return size >= 1 && size <= kLargest; };
  if (!is_size(args.height) || !is_size(args.width) || !is_size(args.out_height) || !is_size(args.out_width)) {
    fail(Error::Code::argument, "image_resize: {} x {} to {} x {}; sides of 1..{} are wanted", args.width, args.height,
         args.out_width, args.out_height, kLargest);
  }
  const int channels = args.order == PixelOrder::gray ? 1 : 3;
  if (args.height > 1 && std::abs(args.row_bytes) < std::int64_t{channels} * args.width) {
    fail(Error::Code::argument, "image_resize: row_bytes {} is less than {} * width {}", args.row_bytes, channels,
         args.width);
  }
  if (args.top < 0 || args.left < 0 || args.canvas_height - args.top < args.out_height ||
      args.canvas_width - args.left < args.out_width) {
    fail(Error::Code::argument, "image_resize: {} x {} at ({}, {}) is not inside the canvas of {} x {}", args.out_width,
         args.out_height, args.left, args.top, args.canvas_width, args.canvas_height);
  }
}

// The places of both axes' arrays from `scratch` on; returns how many 4-byte words they take.
std::int64_t lay_out(const ImageResizeArgs& args, std::int32_t* scratch, Axis& horizontal, Axis& vertical) {
  std::int64_t words = 0;
  const auto take = [&](std::int64_t count) {
    std::int32_t* piece = scratch + words;
    words += count;
    return piece;
  };
  const auto lay_out_axis = [&](Axis& axis, int in_size, int out_size) {
    const int taps = (resize_taps(in_size, out_size, args.antialias) + kGroupTaps - 1) / kGroupTaps * kGroupTaps;
    axis = {in_size, out_size, taps, nullptr, nullptr, nullptr};
    axis.start = take(out_size);
    axis.count = take(out_size);
    axis.weight = take(std::int64_t{taps} * out_size);
  };
  lay_out_axis(horizontal, args.width, args.out_width);
  lay_out_axis(vertical, args.height, args.out_height);
  return words;
}

}  // namespace

std::size_t image_resize_scratch_bytes(const ImageResizeArgs& args) {
  check(args);
  Axis horizontal, vertical;
  return static_cast<std::size_t>(lay_out(args, nullptr, horizontal, vertical)) * sizeof(std::int32_t);
}

void image_resize(const ImageResizeArgs& args, CudaStream stream) {
  check(args);
  ResizeLaunch parameters{};
  parameters.args = args;
  lay_out(args, static_cast<std::int32_t*>(args.scratch), parameters.horizontal, parameters.vertical);
  for (int c = 0; c < 3; ++c) {
    parameters.scale[c] = static_cast<float>(static_cast<double>(args.rescale) / args.std[c]);
    parameters.shift[c] = static_cast<float>(-static_cast<double>(args.mean[c]) / args.std[c]);
  }
  const bool is_gray = args.order == PixelOrder::gray;
  const std::uint8_t* last_row = args.pixels + (args.height - 1) * args.row_bytes;
  parameters.pixels_begin = std::min(args.pixels, last_row);
  parameters.pixels_end = std::max(args.pixels, last_row) + std::int64_t{args.width} * (is_gray ? 1 : 3);
  parameters.tiles_across = (args.canvas_width + kColumns - 1) / kColumns;

  launch("image_resize", fill_axes_kernel, ceil_divide(std::int64_t{args.out_width} + args.out_height, kAxisThreads),
         kAxisThreads, 0, stream, parameters);
  const auto start = [&](void (*kernel)(ResizeLaunch)) {
    launch("image_resize", kernel, ceil_divide(args.canvas_height, kWarps) * parameters.tiles_across, kThreads, 0,
           stream, parameters);
  };
  if (args.rounding) return start(is_gray ? image_resize_kernel<true, 1> : image_resize_kernel<true, 3>);
  start(is_gray ? image_resize_kernel<false, 1> : image_resize_kernel<false, 3>);
}

}  // namespace vistazo::cuda
