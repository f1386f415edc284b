// Separable resize, horizontal first, with uint8 in between, as Pillow does it; the same fixed-point weights and the
// same rounding, so the same pixels. Then rescale, mean and std on the way to the planes of the canvas.
//
// Phase 1, horizontal: a task owns some of the input rows that the vertical pass needs and writes them, resized, to
// `middle`. Phase 2, vertical: a task owns some canvas rows. Phase 1 is most of the work when shrinking: it reads every
// source pixel once and multiplies it into two outputs.
//
// The horizontal pass over interleaved RGB works on 16-byte blocks of four pixels, a shuffle each for the first two and
// the last two: [r0 r1 g0 g1 b0 b1 - -] in 16 bits, whose pairwise multiply-add with [w0 w1 w0 w1 w0 w1 - -] gives one
// 32-bit sum a channel. Weights have 23 bits, so they come as two halves of 11 and 12, and the products stay exact.
// A vector is one, two or four such blocks, the fewest that hold the taps of an output. Four rows share the weights
// that are loaded. Gray is simpler: its taps are adjacent as they lie. No load leaves its row: near the right end a
// window begins earlier, with zero weights; the few outputs that end in the last pixels, which a vector would load but
// not use, and an image too narrow for a vector go pixel by pixel.
#include "kernels/image_resize.h"

#include <algorithm>
#include <cstring>

#include "kernels/base/aligned.h"
#include "kernels/cpu/image_resize_parts.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/image_resize.cpp"
// clang-format off
#include "hwy/foreach_target.h"
// clang-format on
#include "hwy/highway.h"

#ifndef VISTAZO_KERNELS_CPU_IMAGE_RESIZE_ONCE
#define VISTAZO_KERNELS_CPU_IMAGE_RESIZE_ONCE
namespace vistazo::cpu {

constexpr int kLowBits = 11;       // of a weight; the high half is at most 2^22 >> 11, which fits 16 bits
constexpr int kGroupRows = 4;      // rows of the horizontal pass that share loaded weights
constexpr int kChunkPixels = 256;  // of the vertical pass at a time, on the stack
constexpr int kVectorBytes = 64;   // no vector is longer

// Where the vectors of an output pixel begin in its row; groups 0: pixel by pixel.
struct Window {
  std::int32_t start;  // input pixel
  std::int32_t groups;
};

// Everything about a call that does not depend on the row. Pointers lead into the scratch.
struct ResizePlan {
  ResizeAxis horizontal, vertical;
  int channels;
  int most_taps;              // of the horizontal axis, after dropping zero weights
  Window* windows;            // per output column
  std::int16_t* weights;      // of the windows, in the order they are used
  std::int32_t* needed_rows;  // the input rows of `middle`
  std::int32_t* first_row;    // per output row: where its taps begin in `middle`
  int middle_rows;
  std::int64_t middle_stride;
  std::uint8_t* middle;
  float scale[3], shift[3];  // y = pixel * scale + shift, per plane
};

}  // namespace vistazo::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void resize_pixel(const ResizeAxis& axis, int x, int channels, const std::uint8_t* HWY_RESTRICT row,
                  std::uint8_t* HWY_RESTRICT out) {
  const std::int32_t* weight = axis.weight + std::int64_t{x} * axis.taps;
  const std::uint8_t* from = row + std::int64_t{axis.start[x]} * channels;
  for (int c = 0; c < channels; ++c) {
    std::int32_t sum = 0;
    for (int tap = 0; tap < axis.count[x]; ++tap) sum += weight[tap] * from[std::int64_t{tap} * channels + c];
    out[c] = resized_pixel(sum);
  }
}

#if HWY_TARGET == HWY_SCALAR

// No vectors: every pixel on its own.
void place_windows(const ResizePlan& plan) {
  for (int x = 0; x < plan.horizontal.out_size; ++x) plan.windows[x] = {0, 0};
}

void resize_rows(const ResizePlan& plan, const std::uint8_t* const* rows, std::uint8_t* const* out) {
  for (int r = 0; r < kGroupRows; ++r) {
    for (int x = 0; x < plan.horizontal.out_size; ++x) {
      resize_pixel(plan.horizontal, x, plan.channels, rows[r], out[r] + std::int64_t{x} * plan.channels);
    }
  }
}

#else

// Calls body with the shortest vector that holds the taps of an output: in 16 bytes four RGB pixels or eight gray ones.
template <typename Body>
HWY_INLINE void with_vector_size(const ResizePlan& plan, Body&& body) {
  const int blocks = plan.channels == 3 ? (plan.most_taps + 3) / 4 : (plan.most_taps + 7) / 8;
  if (blocks <= 1) {
    body(hn::CappedTag<std::uint8_t, 16>());
  } else if (blocks == 2) {
    body(hn::CappedTag<std::uint8_t, 32>());
  } else {
    body(hn::CappedTag<std::uint8_t, kVectorBytes>());
  }
}

// The window of column x for vectors that use group_pixels pixels and load unused_pixels more.
Window window_of(const ResizeAxis& axis, int x, int group_pixels, int unused_pixels) {
  const int groups = (axis.count[x] + group_pixels - 1) / group_pixels;
  const int last_start = axis.in_size - groups * group_pixels - unused_pixels;
  if (last_start < 0 || axis.start[x] + axis.count[x] > axis.in_size - unused_pixels) return {0, 0};
  return {std::min(axis.start[x], last_start), groups};
}

// The pixel of a group whose weight lies in lane i of its first (half 0) or second vectors; -1 for none. RGB has two
// sets of vectors: for the first two pixels of every block and for the last two.
int pixel_of_lane(bool is_rgb, int half, int i) {
  if (!is_rgb) return i;
  return i % 8 < 6 ? i / 8 * 4 + half * 2 + i % 2 : -1;
}

// Weights of a group, in vectors of high and low halves in turn.
void place_windows(const ResizePlan& plan) {
  const ResizeAxis& axis = plan.horizontal;
  with_vector_size(plan, [&](auto d8) HWY_ATTR {
    const bool is_rgb = plan.channels == 3;
    const int lanes = static_cast<int>(hn::Lanes(d8)) / 2, group_pixels = is_rgb ? lanes / 2 : lanes;
    const int unused_pixels = is_rgb ? (group_pixels + 2) / 3 : 0;  // 12 of 16 bytes are used
    std::int16_t* to = plan.weights;
    for (int x = 0; x < axis.out_size; ++x) {
      const Window window = plan.windows[x] = window_of(axis, x, group_pixels, unused_pixels);
      for (int vector = 0; vector < window.groups * (is_rgb ? 2 : 1); ++vector, to += 2 * lanes) {
        const int group = is_rgb ? vector / 2 : vector;
        for (int i = 0; i < lanes; ++i) {
          const int pixel = pixel_of_lane(is_rgb, vector % 2, i);
          const int tap = window.start + group * group_pixels + pixel - axis.start[x];
          const bool is_tap = pixel >= 0 && tap >= 0 && tap < axis.count[x];
          const std::int32_t weight = is_tap ? axis.weight[std::int64_t{x} * axis.taps + tap] : 0;
          to[i] = static_cast<std::int16_t>(weight >> kLowBits);
          to[lanes + i] = static_cast<std::int16_t>(weight & ((1 << kLowBits) - 1));
        }
      }
    }
  });
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<hn::Full128<std::int32_t>> sum_of_blocks(D /*d*/, V v) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return sum_of_blocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// Pixels [r g b -] of two rows, rounded, to four bytes each; the fourth byte is overwritten by the next pixel.
template <class V>
HWY_INLINE void store_two_pixels(V first, V second, std::uint8_t* to_first, std::uint8_t* to_second) {
  const hn::Full128<std::int32_t> d32;
  const hn::Full128<std::int16_t> d16;
  const hn::Full64<std::uint8_t> d8;
  const hn::Full64<std::uint32_t> pixels;
  const auto half = hn::Set(d32, 1 << (kResizeBits - 1));
  const auto words = hn::ReorderDemote2To(d16, hn::ShiftRight<kResizeBits>(hn::Add(first, half)),
                                          hn::ShiftRight<kResizeBits>(hn::Add(second, half)));
  const auto both = hn::BitCast(pixels, hn::DemoteTo(d8, words));
  const std::uint32_t low = hn::ExtractLane(both, 0), high = hn::ExtractLane(both, 1);
  std::memcpy(to_first, &low, sizeof(low));
  std::memcpy(to_second, &high, sizeof(high));
}

template <class D8>
void resize_rgb_rows(D8 d8, const ResizePlan& plan, const std::uint8_t* const* rows, std::uint8_t* const* out) {
  const hn::Repartition<std::int16_t, D8> d16;
  const hn::Repartition<std::int32_t, D8> d32;
  constexpr int kBlocks = static_cast<int>(hn::MaxLanes(D8()) / 16);
  HWY_ALIGN static constexpr std::int32_t kSpread[16] = {0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11};
  HWY_ALIGN static constexpr std::uint8_t kFirstTwo[16] = {0, 128, 3, 128, 1,   128, 4,   128,
                                                           2, 128, 5, 128, 128, 128, 128, 128};
  HWY_ALIGN static constexpr std::uint8_t kLastTwo[16] = {6, 128, 9,  128, 7,   128, 10,  128,
                                                          8, 128, 11, 128, 128, 128, 128, 128};
  const auto spread = hn::SetTableIndices(d32, kSpread);
  const auto first_two = hn::LoadDup128(d8, kFirstTwo), last_two = hn::LoadDup128(d8, kLastTwo);
  const std::int16_t* weights = plan.weights;
  for (int x = 0; x < plan.horizontal.out_size; ++x) {
    const Window window = plan.windows[x];
    if (window.groups == 0) {
      for (int r = 0; r < kGroupRows; ++r) resize_pixel(plan.horizontal, x, 3, rows[r], out[r] + std::int64_t{x} * 3);
      continue;
    }
    hn::Vec<decltype(d32)> high[kGroupRows], low[kGroupRows], high_odd[kGroupRows], low_odd[kGroupRows];
    for (int r = 0; r < kGroupRows; ++r) high[r] = low[r] = high_odd[r] = low_odd[r] = hn::Zero(d32);
    std::int64_t byte = std::int64_t{window.start} * 3;
    for (int group = 0; group < window.groups; ++group, byte += 12 * kBlocks, weights += 4 * hn::Lanes(d16)) {
      const auto first_high = hn::Load(d16, weights), first_low = hn::Load(d16, weights + hn::Lanes(d16));
      const auto last_high = hn::Load(d16, weights + 2 * hn::Lanes(d16));
      const auto last_low = hn::Load(d16, weights + 3 * hn::Lanes(d16));
      for (int r = 0; r < kGroupRows; ++r) {
        auto bytes = hn::LoadU(d8, rows[r] + byte);
        if constexpr (kBlocks > 1) bytes = hn::BitCast(d8, hn::TableLookupLanes(hn::BitCast(d32, bytes), spread));
        const auto first = hn::BitCast(d16, hn::TableLookupBytesOr0(bytes, first_two));
        const auto last = hn::BitCast(d16, hn::TableLookupBytesOr0(bytes, last_two));
        high[r] = hn::ReorderWidenMulAccumulate(d32, first, first_high, high[r], high_odd[r]);
        low[r] = hn::ReorderWidenMulAccumulate(d32, first, first_low, low[r], low_odd[r]);
        high[r] = hn::ReorderWidenMulAccumulate(d32, last, last_high, high[r], high_odd[r]);
        low[r] = hn::ReorderWidenMulAccumulate(d32, last, last_low, low[r], low_odd[r]);
      }
    }
    hn::Vec<hn::Full128<std::int32_t>> pixel[kGroupRows];
    for (int r = 0; r < kGroupRows; ++r) {
      const auto sum_high = hn::RearrangeToOddPlusEven(high[r], high_odd[r]);
      const auto sum_low = hn::RearrangeToOddPlusEven(low[r], low_odd[r]);
      pixel[r] = sum_of_blocks(d32, hn::Add(hn::ShiftLeft<kLowBits>(sum_high), sum_low));
    }
    for (int r = 0; r < kGroupRows; r += 2) {
      store_two_pixels(pixel[r], pixel[r + 1], out[r] + std::int64_t{x} * 3, out[r + 1] + std::int64_t{x} * 3);
    }
  }
}

template <class D8>
void resize_gray_rows(D8 /*register*/, const ResizePlan& plan, const std::uint8_t* const* rows,
                      std::uint8_t* const* out) {
  const hn::Repartition<std::int16_t, D8> d16;
  const hn::Repartition<std::int32_t, D8> d32;
  const hn::Rebind<std::uint8_t, decltype(d16)> d8;
  const int lanes = static_cast<int>(hn::Lanes(d16));
  const std::int16_t* weights = plan.weights;
  for (int x = 0; x < plan.horizontal.out_size; ++x) {
    const Window window = plan.windows[x];
    if (window.groups == 0) {
      for (int r = 0; r < kGroupRows; ++r) resize_pixel(plan.horizontal, x, 1, rows[r], out[r] + x);
      continue;
    }
    hn::Vec<decltype(d32)> high[kGroupRows], low[kGroupRows], high_odd[kGroupRows], low_odd[kGroupRows];
    for (int r = 0; r < kGroupRows; ++r) high[r] = low[r] = high_odd[r] = low_odd[r] = hn::Zero(d32);
    std::int64_t byte = window.start;
    for (int group = 0; group < window.groups; ++group, byte += lanes, weights += 2 * lanes) {
      const auto weight_high = hn::Load(d16, weights), weight_low = hn::Load(d16, weights + lanes);
      for (int r = 0; r < kGroupRows; ++r) {
        const auto pixels = hn::PromoteTo(d16, hn::LoadU(d8, rows[r] + byte));
        high[r] = hn::ReorderWidenMulAccumulate(d32, pixels, weight_high, high[r], high_odd[r]);
        low[r] = hn::ReorderWidenMulAccumulate(d32, pixels, weight_low, low[r], low_odd[r]);
      }
    }
    const hn::Full128<std::int32_t> block;
    for (int r = 0; r < kGroupRows; ++r) {
      const auto sum_high = hn::Add(high[r], high_odd[r]), sum_low = hn::Add(low[r], low_odd[r]);
      const auto sum = sum_of_blocks(d32, hn::Add(hn::ShiftLeft<kLowBits>(sum_high), sum_low));
      out[r][x] = resized_pixel(hn::GetLane(hn::SumOfLanes(block, sum)));
    }
  }
}

void resize_rows(const ResizePlan& plan, const std::uint8_t* const* rows, std::uint8_t* const* out) {
  with_vector_size(plan, [&](auto d8) HWY_ATTR {
    if (plan.channels == 3) {
      resize_rgb_rows(d8, plan, rows, out);
    } else {
      resize_gray_rows(d8, plan, rows, out);
    }
  });
}

#endif

// `count` bytes of an output row from the rows of `middle`, rounded up to a multiple of kVectorBytes.
void sum_rows(const ResizePlan& plan, int row, std::int64_t first_byte, int count, std::uint8_t* HWY_RESTRICT out) {
  const hn::CappedTag<std::int32_t, 16> d32;
  const hn::Rebind<std::uint8_t, decltype(d32)> d8;
  const int lanes = static_cast<int>(hn::Lanes(d32));
  const std::int32_t* weight = plan.vertical.weight + std::int64_t{row} * plan.vertical.taps;
  const std::uint8_t* from = plan.middle + plan.first_row[row] * plan.middle_stride + first_byte;
  constexpr int kUnroll = 4;
  for (int i = 0; i < count; i += kUnroll * lanes) {
    hn::Vec<decltype(d32)> sums[kUnroll];
    for (auto& sum : sums) sum = hn::Set(d32, 1 << (kResizeBits - 1));
    const std::uint8_t* tap_row = from + i;
    for (int tap = 0; tap < plan.vertical.count[row]; ++tap, tap_row += plan.middle_stride) {
      const auto w = hn::Set(d32, weight[tap]);
      for (int u = 0; u < kUnroll; ++u) {
        const auto pixels = hn::PromoteTo(d32, hn::LoadU(d8, tap_row + u * lanes));
        sums[u] = hn::Add(sums[u], hn::Mul(pixels, w));
      }
    }
    for (int u = 0; u < kUnroll; ++u) {
      hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kResizeBits>(sums[u])), d8, out + i + u * lanes);
    }
  }
}

// Interleaved bytes to three planes of floats; `bytes` may be read up to kVectorBytes * 3 further.
void normalise(const ResizePlan& plan, const std::uint8_t* HWY_RESTRICT bytes, int pixels, float* const* planes) {
  const hn::CappedTag<float, 16> d;
  const hn::RebindToSigned<decltype(d)> d32;
  const hn::Rebind<std::uint8_t, decltype(d)> d8;
  const int lanes = static_cast<int>(hn::Lanes(d));
  for (int x = 0; x < pixels; x += lanes) {
    hn::Vec<decltype(d8)> channel[3];
    if (plan.channels == 3) {
      hn::LoadInterleaved3(d8, bytes + 3 * x, channel[0], channel[1], channel[2]);
    } else {
      channel[0] = channel[1] = channel[2] = hn::LoadU(d8, bytes + x);
    }
    for (int c = 0; c < 3; ++c) {
      const auto v = hn::ConvertTo(d, hn::PromoteTo(d32, channel[c]));
      const auto y = hn::MulAdd(v, hn::Set(d, plan.scale[c]), hn::Set(d, plan.shift[c]));
      if (x + lanes <= pixels) {
        hn::StoreU(y, d, planes[c] + x);
      } else {
        HWY_ALIGN float tail[16];
        hn::Store(y, d, tail);
        std::copy_n(tail, pixels - x, planes[c] + x);
      }
    }
  }
}

// One row of the resized image; planes[c] is its place on the canvas.
void finish_row(const ResizePlan& plan, int row, float* const* planes) {
  HWY_ALIGN std::uint8_t bytes[3 * kChunkPixels + 3 * kVectorBytes];
  for (int x = 0; x < plan.horizontal.out_size; x += kChunkPixels) {
    const int pixels = std::min(kChunkPixels, plan.horizontal.out_size - x);
    sum_rows(plan, row, std::int64_t{x} * plan.channels, pixels * plan.channels, bytes);
    float* const chunk_planes[3] = {planes[0] + x, planes[1] + x, planes[2] + x};
    normalise(plan, bytes, pixels, chunk_planes);
  }
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(place_windows);
HWY_EXPORT(resize_rows);
HWY_EXPORT(finish_row);

namespace {

// The places of the plan's arrays; returns the scratch's size.
std::size_t lay_out(const ImageResizeArgs& args, ResizePlan& plan, double*& distances) {
  Pieces pieces(args.scratch);
  plan.channels = args.order == PixelOrder::gray ? 1 : 3;
  plan.horizontal = take_axis(pieces, args.width, args.out_width, args.antialias);
  plan.vertical = take_axis(pieces, args.height, args.out_height, args.antialias);
  distances = pieces.take<double>(std::max(plan.horizontal.taps, plan.vertical.taps));
  plan.windows = pieces.take<Window>(args.out_width);
  // At most 16 bytes a tap, in whole vectors.
  const auto window_taps = static_cast<std::int64_t>(align_up(plan.horizontal.taps, kVectorBytes / 2));
  plan.weights = pieces.take<std::int16_t>(args.out_width * window_taps * 8);
  const std::int64_t most_rows =
      args.antialias ? args.height : std::min<std::int64_t>(args.height, 2 * std::int64_t{args.out_height});
  plan.needed_rows = pieces.take<std::int32_t>(most_rows);
  plan.first_row = pieces.take<std::int32_t>(args.out_height);
  plan.middle_stride = static_cast<std::int64_t>(align_up(std::size_t(args.out_width) * plan.channels + 1));
  plan.middle = pieces.take<std::uint8_t>(most_rows * plan.middle_stride);
  return pieces.bytes();
}

void fill_plan(const ImageResizeArgs& args, ResizePlan& plan) {
  double* distances = nullptr;
  lay_out(args, plan, distances);
  fill_axis(plan.horizontal, args.antialias, distances);
  fill_axis(plan.vertical, args.antialias, distances);
  plan.most_taps = *std::max_element(plan.horizontal.count, plan.horizontal.count + args.out_width);
  // Windows of rows begin in ascending order and each is contiguous, so that it is contiguous in `middle` too.
  plan.middle_rows = 0;
  int next = 0;
  for (int i = 0; i < args.out_height; ++i) {
    const int start = plan.vertical.start[i];
    next = std::max(next, start);
    plan.first_row[i] = plan.middle_rows - (next - start);
    for (; next < start + plan.vertical.count[i]; ++next) plan.needed_rows[plan.middle_rows++] = next;
  }
  fill_channel_scales(args, plan.scale, plan.shift);
}

void resize_horizontally(const ImageResizeArgs& args, const ResizePlan& plan, std::int64_t group) {
  const std::uint8_t* rows[kGroupRows];
  std::uint8_t* out[kGroupRows];
  for (int r = 0; r < kGroupRows; ++r) {  // the last group may do its last row more than once
    const std::int64_t row = std::min<std::int64_t>(group * kGroupRows + r, plan.middle_rows - 1);
    rows[r] = args.pixels + plan.needed_rows[row] * args.row_bytes;
    out[r] = plan.middle + row * plan.middle_stride;
  }
  if (args.width != args.out_width) {
    HWY_DYNAMIC_DISPATCH(resize_rows)(plan, rows, out);
    return;
  }
  for (int r = 0; r < kGroupRows; ++r) std::memcpy(out[r], rows[r], std::size_t(args.width) * plan.channels);
}

void write_canvas_row(const ImageResizeArgs& args, const ResizePlan& plan, int y) {
  float* planes[3];
  if (begin_canvas_row(args, y, planes)) HWY_DYNAMIC_DISPATCH(finish_row)(plan, y - args.top, planes);
}

}  // namespace

std::size_t image_resize_scratch_bytes(const ImageResizeArgs& args) {
  check_image_resize(args);
  if (!args.rounding) return unrounded_resize_scratch_bytes(args);
  ResizePlan plan = {};
  double* distances = nullptr;
  ImageResizeArgs counted = args;
  counted.scratch = nullptr;
  return lay_out(counted, plan, distances);
}

void image_resize(const ImageResizeArgs& args, const ThreadPool& pool) {
  check_image_resize(args);
  if (!args.rounding) {
    unrounded_resize(args, pool);
    return;
  }
  ResizePlan plan = {};
  fill_plan(args, plan);
  if (args.width != args.out_width) HWY_DYNAMIC_DISPATCH(place_windows)(plan);

  constexpr std::int64_t kTaskGroups = 4, kTaskRows = 4;  // some 50 us of work each at common sizes
  const std::int64_t groups = (plan.middle_rows + kGroupRows - 1) / kGroupRows;
  pool.for_each((groups + kTaskGroups - 1) / kTaskGroups, [&](std::int64_t task, int) {
    for (std::int64_t group = task * kTaskGroups; group < std::min(groups, (task + 1) * kTaskGroups); ++group) {
      resize_horizontally(args, plan, group);
    }
  });
  const std::int64_t rows = args.canvas_height;
  pool.for_each((rows + kTaskRows - 1) / kTaskRows, [&](std::int64_t task, int) {
    for (std::int64_t y = task * kTaskRows; y < std::min(rows, (task + 1) * kTaskRows); ++y) {
      write_canvas_row(args, plan, static_cast<int>(y));
    }
  });
}

}  // namespace vistazo::cpu
#endif
