// Separable resize in floats: vertical first, one output row at a time, so that the horizontal pass reads a row that is
// still in the first-level cache. Both passes use the fixed-point weights of the rounded path, as floats: off by 2^-23.
//
// A task owns a band of canvas rows and a row of sums. The vertical pass multiplies bytes as they lie, whatever the
// channels; shrinking is limited by it, since it reads every source pixel, about twice. The horizontal pass gathers a
// tap of one vector of output pixels at a time, from the interleaved sums.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/image_resize_parts.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/image_resize_unrounded.cpp"
// clang-format off
#include "hwy/foreach_target.h"
// clang-format on
#include "hwy/highway.h"

#ifndef VISTAZO_KERNELS_CPU_IMAGE_RESIZE_UNROUNDED_ONCE
#define VISTAZO_KERNELS_CPU_IMAGE_RESIZE_UNROUNDED_ONCE
namespace vistazo::cpu {

constexpr int kMostLanes = 16;  // of floats in a vector
constexpr int kBands = 64;      // more than cores, so that they share the work evenly; each has a row of sums

// Everything about a call that does not depend on the row. Pointers lead into the scratch.
struct UnroundedPlan {
  ResizeAxis horizontal, vertical;
  int channels;
  int most_taps;            // of the horizontal axis, after dropping zero weights
  std::int64_t columns;     // out_width, rounded up to kMostLanes
  std::int32_t* first;      // per output column: the element of the sums' row that its first tap is, of channel 0
  float* weight;            // (most_taps, columns); zero behind a column's last tap
  std::int64_t sum_stride;  // between the bands' rows: room for every tap that has no weight
  float* sums;
  float scale[3], shift[3];
};

}  // namespace vistazo::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr float kUnit = 1.0f / (1 << kResizeBits);

// sums[i] = the weighted bytes i of the input rows that make output row `row`.
void sum_input_rows(const UnroundedPlan& plan, const ImageResizeArgs& args, int row, float* HWY_RESTRICT sums) {
  const hn::CappedTag<float, kMostLanes> d;
  const hn::RebindToSigned<decltype(d)> d32;
  const hn::Rebind<std::uint8_t, decltype(d)> d8;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int32_t* weight = plan.vertical.weight + std::int64_t{row} * plan.vertical.taps;
  const std::uint8_t* top = args.pixels + plan.vertical.start[row] * args.row_bytes;
  const int taps = plan.vertical.count[row];
  const std::int64_t bytes = std::int64_t{args.width} * plan.channels;
  constexpr int kUnroll = 4;
  std::int64_t i = 0;
  for (; i + kUnroll * lanes <= bytes; i += kUnroll * lanes) {
    hn::Vec<decltype(d)> sum[kUnroll];
    for (auto& s : sum) s = hn::Zero(d);
    const std::uint8_t* from = top + i;
    for (int tap = 0; tap < taps; ++tap, from += args.row_bytes) {
      const auto w = hn::Set(d, static_cast<float>(weight[tap]) * kUnit);
      for (int u = 0; u < kUnroll; ++u) {
        const auto pixels = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, from + u * lanes)));
        sum[u] = hn::MulAdd(pixels, w, sum[u]);
      }
    }
    for (int u = 0; u < kUnroll; ++u) hn::StoreU(sum[u], d, sums + i + u * lanes);
  }
  for (; i < bytes; ++i) {
    float sum = 0.0f;
    const std::uint8_t* from = top + i;
    for (int tap = 0; tap < taps; ++tap, from += args.row_bytes) {
      sum += static_cast<float>(*from) * (static_cast<float>(weight[tap]) * kUnit);
    }
    sums[i] = sum;
  }
}

// One channel of an output row: y[x] = scale * (weighted sums of the column's taps) + shift.
void sum_columns(const UnroundedPlan& plan, const float* HWY_RESTRICT sums, int channel, float* HWY_RESTRICT y) {
  const hn::CappedTag<float, kMostLanes> d;
  const hn::RebindToSigned<decltype(d)> d32;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto scale = hn::Set(d, plan.scale[channel]), shift = hn::Set(d, plan.shift[channel]);
  const int width = plan.horizontal.out_size;
  for (int x = 0; x < width; x += lanes) {
    auto element = hn::Add(hn::LoadU(d32, plan.first + x), hn::Set(d32, plan.channels == 1 ? 0 : channel));
    auto sum = hn::Zero(d);
    for (int tap = 0; tap < plan.most_taps; ++tap) {
      sum = hn::MulAdd(hn::GatherIndex(d, sums, element), hn::LoadU(d, plan.weight + tap * plan.columns + x), sum);
      element = hn::Add(element, hn::Set(d32, plan.channels));
    }
    const auto result = hn::MulAdd(sum, scale, shift);
    if (x + lanes <= width) {
      hn::StoreU(result, d, y + x);
    } else {
      HWY_ALIGN float tail[kMostLanes];
      hn::Store(result, d, tail);
      std::copy_n(tail, width - x, y + x);
    }
  }
}

void resize_row(const UnroundedPlan& plan, const ImageResizeArgs& args, int row, float* sums, float* const* planes) {
  sum_input_rows(plan, args, row, sums);
  for (int channel = 0; channel < 3; ++channel) sum_columns(plan, sums, channel, planes[channel]);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(resize_row);

namespace {

// The places of the plan's arrays; returns the scratch's size.
std::size_t lay_out(const ImageResizeArgs& args, UnroundedPlan& plan, double*& distances) {
  Pieces pieces(args.scratch);
  plan.channels = args.order == PixelOrder::gray ? 1 : 3;
  plan.horizontal = take_axis(pieces, args.width, args.out_width, args.antialias);
  plan.vertical = take_axis(pieces, args.height, args.out_height, args.antialias);
  distances = pieces.take<double>(std::max(plan.horizontal.taps, plan.vertical.taps));
  plan.columns = static_cast<std::int64_t>(align_up(static_cast<std::size_t>(args.out_width), kMostLanes));
  plan.first = pieces.take<std::int32_t>(plan.columns);
  plan.weight = pieces.take<float>(plan.columns * plan.horizontal.taps);
  const std::int64_t elements = (std::int64_t{args.width} + plan.horizontal.taps) * plan.channels;
  plan.sum_stride = static_cast<std::int64_t>(align_up(static_cast<std::size_t>(elements), kMostLanes));
  plan.sums = pieces.take<float>(plan.sum_stride * std::min(kBands, args.canvas_height));
  return pieces.bytes();
}

void fill_plan(const ImageResizeArgs& args, UnroundedPlan& plan) {
  double* distances = nullptr;
  lay_out(args, plan, distances);
  fill_axis(plan.horizontal, args.antialias, distances);
  fill_axis(plan.vertical, args.antialias, distances);
  const ResizeAxis& axis = plan.horizontal;
  plan.most_taps = *std::max_element(axis.count, axis.count + axis.out_size);
  std::fill_n(plan.first, plan.columns, 0);
  std::fill_n(plan.weight, plan.columns * plan.most_taps, 0.0f);
  for (int x = 0; x < axis.out_size; ++x) {
    plan.first[x] = axis.start[x] * plan.channels;
    for (int tap = 0; tap < axis.count[x]; ++tap) {
      const std::int32_t weight = axis.weight[std::int64_t{x} * axis.taps + tap];
      plan.weight[tap * plan.columns + x] = static_cast<float>(weight) / (1 << kResizeBits);
    }
  }
  // Taps without weight read behind the row: finite values, so that they add nothing.
  const std::int64_t row = std::int64_t{args.width} * plan.channels;
  for (int band = 0; band < std::min(kBands, args.canvas_height); ++band) {
    float* sums = plan.sums + band * plan.sum_stride;
    std::fill(sums + row, sums + plan.sum_stride, 0.0f);
  }
  fill_channel_scales(args, plan.scale, plan.shift);
}

}  // namespace

std::size_t unrounded_resize_scratch_bytes(const ImageResizeArgs& args) {
  UnroundedPlan plan = {};
  double* distances = nullptr;
  ImageResizeArgs counted = args;
  counted.scratch = nullptr;
  return lay_out(counted, plan, distances);
}

void unrounded_resize(const ImageResizeArgs& args, const ThreadPool& pool) {
  UnroundedPlan plan = {};
  fill_plan(args, plan);
  const std::int64_t bands = std::min(kBands, args.canvas_height);
  pool.for_each(bands, [&](std::int64_t band, int) {
    float* sums = plan.sums + band * plan.sum_stride;
    const std::int64_t rows = args.canvas_height;
    for (std::int64_t y = rows * band / bands; y < rows * (band + 1) / bands; ++y) {
      float* planes[3];
      const int row = static_cast<int>(y);
      if (begin_canvas_row(args, row, planes)) {
        HWY_DYNAMIC_DISPATCH(resize_row)(plan, args, row - args.top, sums, planes);
      }
    }
  });
}

}  // namespace vistazo::cpu
#endif
