// Multi-scale deformable attention, queries in parallel: a task owns a few queries of one image.
//
// Per query, heads go in blocks. First the block's samples, a vector of them at a time: softmax numerators, sampling
// positions, and for each of a sample's four corners the row of `value` and a weight. Then each head sums its corners
// with vectors over head_dim. A corner outside the map reads a row of zeros, so that nothing beyond the map is touched
// and a NaN at the border of the map does not reach a sample that misses it.
//
// Limited by the loads of the corners: value stays in the second-level cache, each corner is one or two cache lines.
#include "kernels/deformable_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/deformable_attention.cpp"
// clang-format off
#include "hwy/foreach_target.h"
// clang-format on
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/cpu/bf16-inl.h"

#ifndef VISTAZO_KERNELS_CPU_DEFORMABLE_ATTENTION_ONCE
#define VISTAZO_KERNELS_CPU_DEFORMABLE_ATTENTION_ONCE
namespace vistazo::cpu {

constexpr int kMaxSamples = 256;  // of a block of heads; a head has at most 32 in the models we know
constexpr int kPadding = 16;      // room for a whole vector behind the last sample
constexpr int kCorners = 4;

// Facts about sample i of a block that are the same for every query.
struct SampleGrid {
  float width[kMaxSamples + kPadding], height[kMaxSamples + kPadding];
  float step[kMaxSamples + kPadding];          // 1/2 over the points of the level: an offset's share of the box
  std::int32_t begin[kMaxSamples + kPadding];  // first row of the level in value
};

}  // namespace vistazo::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

// Samples of a block of heads of one query. row -1 is a corner outside the map.
struct Samples {
  HWY_ALIGN float weight[kCorners][kMaxSamples + kPadding];
  HWY_ALIGN std::int32_t row[kCorners][kMaxSamples + kPadding];
  HWY_ALIGN float numerator[kMaxSamples + kPadding];  // exp(logit - largest of the head)
  float scale[kMaxSamples];                           // per head: 1 / sum of its numerators
};

// Softmax of each head's logits. A head with a NaN or +infinity, or nothing but -infinity, has a scale of NaN, as the
// division would give.
void softmax_numerators(const float* HWY_RESTRICT logits, int heads, int head_samples, Samples& samples) {
  const hn::CappedTag<float, kPadding> d;
  const int count = heads * head_samples, lanes = static_cast<int>(hn::Lanes(d));
  for (int head = 0; head < heads; ++head) {
    const float* from = logits + head * head_samples;
    float largest = -std::numeric_limits<float>::infinity(), has_nan = 0.0f;
    for (int i = 0; i < head_samples; ++i) {
      largest = std::max(largest, from[i]);
      has_nan = from[i] != from[i] ? from[i] : has_nan;
    }
    samples.scale[head] = has_nan + (largest - largest);  // 0, or NaN
    for (int i = 0; i < head_samples; ++i) {
      const float difference = from[i] - largest;  // exp(-200) is 0; the vector exp takes no NaN
      samples.numerator[head * head_samples + i] = difference > -200.0f ? difference : -200.0f;
    }
  }
  for (int i = 0; i < kPadding; ++i) samples.numerator[count + i] = 0.0f;
  for (int i = 0; i < count; i += lanes) {
    hn::Store(hn::Exp(d, hn::Load(d, samples.numerator + i)), d, samples.numerator + i);
  }
  for (int head = 0; head < heads; ++head) {
    float sum = samples.scale[head];
    for (int i = 0; i < head_samples; ++i) sum += samples.numerator[head * head_samples + i];
    samples.scale[head] = 1.0f / sum;
  }
}

// Rows and weights of the corners of samples i .. i + lanes. Compares run on floats before any conversion to integers,
// and are false for NaN, so that a position far out or not a number has no corner inside.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void corners(D d, V pixel_x, V pixel_y, const SampleGrid& grid, int i, Samples& samples) {
  const hn::RebindToSigned<D> di;
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  const auto width = hn::LoadU(d, grid.width + i), height = hn::LoadU(d, grid.height + i);
  const auto attention = hn::Load(d, samples.numerator + i);
  const auto left = hn::Floor(pixel_x), top = hn::Floor(pixel_y);
  const auto right_share = hn::Sub(pixel_x, left), bottom_share = hn::Sub(pixel_y, top);
  const decltype(left) xs[2] = {left, hn::Add(left, one)}, ys[2] = {top, hn::Add(top, one)};
  const decltype(left) x_shares[2] = {hn::Sub(one, right_share), right_share};
  const decltype(left) y_shares[2] = {hn::Sub(one, bottom_share), bottom_share};
  for (int corner = 0; corner < kCorners; ++corner) {
    const auto x = xs[corner % 2], y = ys[corner / 2];
    const auto is_inside =
        hn::And(hn::And(hn::Ge(x, zero), hn::Lt(x, width)), hn::And(hn::Ge(y, zero), hn::Lt(y, height)));
    const auto weight = hn::Mul(attention, hn::Mul(x_shares[corner % 2], y_shares[corner / 2]));
    hn::Store(hn::IfThenElseZero(is_inside, weight), d, samples.weight[corner] + i);
    // A level has fewer than 2^24 rows (checked), so that this sum of floats is exact.
    const auto place = hn::IfThenElseZero(is_inside, hn::MulAdd(y, width, x));
    const auto row = hn::Add(hn::ConvertTo(di, place), hn::LoadU(di, grid.begin + i));
    hn::Store(hn::IfThenElse(hn::RebindMask(di, is_inside), row, hn::Set(di, -1)), di, samples.row[corner] + i);
  }
}

// The nearest cell of samples i .. i + lanes, at floor(x), floor(y), as a first corner with all of the weight.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void nearest_cells(D d, V x, V y, const SampleGrid& grid, int i, Samples& samples) {
  const hn::RebindToSigned<D> di;
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  const auto width = hn::LoadU(d, grid.width + i), height = hn::LoadU(d, grid.height + i);
  const auto clamp = [&](V v, V size) {  // NaN becomes 0
    return hn::Min(hn::Floor(hn::IfThenElseZero(hn::Gt(v, zero), v)), hn::Sub(size, one));
  };
  const auto row = hn::ConvertTo(di, hn::MulAdd(clamp(y, height), width, clamp(x, width)));
  hn::Store(hn::Load(d, samples.numerator + i), d, samples.weight[0] + i);
  hn::Store(hn::Add(row, hn::LoadU(di, grid.begin + i)), di, samples.row[0] + i);
  for (int corner = 1; corner < kCorners; ++corner) {
    hn::Store(zero, d, samples.weight[corner] + i);
    hn::Store(hn::Set(di, -1), di, samples.row[corner] + i);
  }
}

template <bool kTakesNearest>
void locate_samples(const SampleGrid& grid, const float* reference, const float* HWY_RESTRICT offsets, int count,
                    Samples& samples) {
  const hn::CappedTag<float, kPadding> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto half = hn::Set(d, 0.5f);
  const auto centre_x = hn::Set(d, reference[0]), centre_y = hn::Set(d, reference[1]);
  const auto box_width = hn::Set(d, reference[2]), box_height = hn::Set(d, reference[3]);
  for (int i = 0; i < count; i += lanes) {
    hn::Vec<decltype(d)> x, y;
    if (i + lanes <= count) {
      hn::LoadInterleaved2(d, offsets + 2 * i, x, y);
    } else {  // the tail may be the end of the caller's buffer
      HWY_ALIGN float tail[2 * kPadding] = {};
      std::copy_n(offsets + 2 * i, 2 * (count - i), tail);
      hn::LoadInterleaved2(d, tail, x, y);
    }
    const auto step = hn::LoadU(d, grid.step + i);
    const auto width = hn::LoadU(d, grid.width + i), height = hn::LoadU(d, grid.height + i);
    x = hn::MulAdd(x, hn::Mul(step, box_width), centre_x);
    y = hn::MulAdd(y, hn::Mul(step, box_height), centre_y);
    if constexpr (kTakesNearest) {
      nearest_cells(d, hn::MulAdd(x, width, half), hn::MulAdd(y, height, half), grid, i, samples);
    } else {
      corners(d, hn::MulSub(x, width, half), hn::MulSub(y, height, half), grid, i, samples);
    }
  }
}

// One vector of a head's output; four sums, one a corner, hide the latency of the multiply-adds.
template <class D, typename T>
HWY_INLINE void sum_corners(D d, const T* value, const T* zeros, std::int64_t stride, const Samples& samples, int begin,
                            int end, float scale, T* out) {
  hn::Vec<D> sums[kCorners] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (int i = begin; i < end; ++i) {
    for (int corner = 0; corner < kCorners; ++corner) {
      const std::int64_t row = samples.row[corner][i];
      const T* from = row < 0 ? zeros : value + row * stride;
      sums[corner] = hn::MulAdd(hn::Set(d, samples.weight[corner][i]), load(d, from), sums[corner]);
    }
  }
  const auto sum = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
  store(hn::Mul(sum, hn::Set(d, scale)), d, out);
}

template <typename T>
void attend(const DeformableAttentionArgs& args, const SampleGrid& grid, std::int64_t batch, int query) {
  const int head_samples = args.head_samples(), row_samples = args.heads * head_samples;
  const int block_heads = std::min(args.heads, kMaxSamples / head_samples);
  std::int64_t area = 0;
  for (int level = 0; level < args.levels; ++level) {
    area += std::int64_t{args.level_height[level]} * args.level_width[level];
  }
  const std::int64_t row = batch * args.queries + query;
  const float* offsets = args.offset_logits + row * 3 * row_samples;
  const T* value = static_cast<const T*>(args.value) + batch * area * args.value_row_stride;
  T* out = static_cast<T*>(args.out) + row * args.heads * args.head_dim;
  const T zeros[hn::MaxLanes(hn::CappedTag<float, kPadding>())] = {};

  Samples samples;
  for (int first = 0; first < args.heads; first += block_heads) {
    const int heads = std::min(block_heads, args.heads - first), count = heads * head_samples;
    softmax_numerators(offsets + 2 * row_samples + first * head_samples, heads, head_samples, samples);
    const auto locate = args.takes_nearest ? locate_samples<true> : locate_samples<false>;
    locate(grid, args.reference + row * 4, offsets + 2 * first * head_samples, count, samples);
    for (int head = 0; head < heads; ++head) {
      const int begin = head * head_samples, end = begin + head_samples;
      std::int64_t column = std::int64_t{first + head} * args.head_dim;
      int left = args.head_dim;
      const auto sum_while = [&](auto d) HWY_ATTR {
        const int lanes = static_cast<int>(hn::Lanes(d));
        for (; left >= lanes; left -= lanes, column += lanes) {
          sum_corners(d, value + column, zeros, args.value_row_stride, samples, begin, end, samples.scale[head],
                      out + column);
        }
      };
      sum_while(hn::CappedTag<float, kPadding>());
      sum_while(hn::CappedTag<float, 8>());
      sum_while(hn::CappedTag<float, 4>());
      sum_while(hn::CappedTag<float, 1>());
    }
  }
}

void attend_f32(const DeformableAttentionArgs& args, const SampleGrid& grid, std::int64_t batch, int query) {
  attend<float>(args, grid, batch, query);
}

void attend_bf16(const DeformableAttentionArgs& args, const SampleGrid& grid, std::int64_t batch, int query) {
  attend<std::uint16_t>(args, grid, batch, query);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(attend_f32);
HWY_EXPORT(attend_bf16);

namespace {

void check(const DeformableAttentionArgs& args) {
  constexpr int kMaxLevels = DeformableAttentionArgs::kMaxLevels;
  if (args.batch < 0 || args.queries < 1 || args.heads < 1 || args.head_dim < 1 || args.levels < 1 ||
      args.levels > kMaxLevels || args.value_row_stride < std::int64_t{args.heads} * args.head_dim) {
    fail(Error::Code::argument,
         "deformable_attention: batch {}, queries {}, heads {}, head_dim {}, levels {} (at most {}), "
         "value_row_stride {}",
         args.batch, args.queries, args.heads, args.head_dim, args.levels, kMaxLevels, args.value_row_stride);
  }
  for (int level = 0; level < args.levels; ++level) {
    const std::int64_t height = args.level_height[level], width = args.level_width[level];
    if (args.level_points[level] < 1 || args.level_points[level] > kMaxSamples) {
      fail(Error::Code::argument, "deformable_attention: level {} has {} points; 1 .. {} are wanted", level,
           args.level_points[level], kMaxSamples);
    }
    if (height < 1 || width < 1 || height * width >= 1 << 24) {
      fail(Error::Code::argument, "deformable_attention: level {} is {} x {}; 1 .. 2^24 - 1 positions are wanted",
           level, height, width);
    }
  }
  if (args.head_samples() > kMaxSamples) {
    fail(Error::Code::unsupported, "deformable_attention: {} samples a head; at most {} are built", args.head_samples(),
         kMaxSamples);
  }
  if (args.dtype != DType::f32 && args.dtype != DType::bf16) {
    fail(Error::Code::unsupported, "deformable_attention: values of {}; f32 or bf16 are wanted", name_of(args.dtype));
  }
}

SampleGrid sample_grid(const DeformableAttentionArgs& args) {
  SampleGrid grid = {};
  int i = 0;
  while (i < kMaxSamples) {  // heads, one after the other
    std::int32_t begin = 0;
    for (int level = 0; level < args.levels; ++level) {
      for (int point = 0; point < args.level_points[level] && i < kMaxSamples; ++point, ++i) {
        grid.begin[i] = begin;
        grid.width[i] = static_cast<float>(args.level_width[level]);
        grid.height[i] = static_cast<float>(args.level_height[level]);
        grid.step[i] = 0.5f / static_cast<float>(args.level_points[level]);
      }
      begin += args.level_height[level] * args.level_width[level];
    }
  }
  return grid;
}

}  // namespace

void deformable_attention(const DeformableAttentionArgs& args, const ThreadPool& pool) {
  check(args);
  const SampleGrid grid = sample_grid(args);
  const auto attend = args.dtype == DType::f32 ? HWY_DYNAMIC_DISPATCH(attend_f32) : HWY_DYNAMIC_DISPATCH(attend_bf16);
  constexpr std::int64_t kChunk = 8;  // queries of a task: some 10 us
  const std::int64_t rows = std::int64_t{args.batch} * args.queries;
  pool.for_each((rows + kChunk - 1) / kChunk, [&](std::int64_t chunk, int) {
    for (std::int64_t row = chunk * kChunk; row < std::min(rows, (chunk + 1) * kChunk); ++row) {
      attend(args, grid, row / args.queries, static_cast<int>(row % args.queries));
    }
  });
}

}  // namespace vistazo::cpu
#endif
