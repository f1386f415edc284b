#include "kernels/distribution.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/base/half.h"
#include "kernels/cpu/row_blocks.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/distribution.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

// An edge at a time: the exponentials of its logits go to a buffer on the stack and are summed, then weighted or
// ranked. Workers take blocks of boxes in turn. Limited by the exponentials.
HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

struct Numerators {
  HWY_ALIGN float values[EdgeLogits::kMaxBins + hn::MaxLanes(hn::ScalableTag<float>())];
  float sum;
};

// exp(logit - largest). A NaN makes the sum NaN.
void softmax_numerators(const float* logits, std::size_t bins, Numerators& to) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto largest = hn::Set(d, *std::max_element(logits, logits + bins));
  auto sum = hn::Zero(d);
  for (std::size_t i = 0; i < bins; i += lanes) {
    const std::size_t count = std::min(lanes, bins - i);
    const auto logit = count == lanes ? load(d, logits + i) : load_some(d, logits + i, count);
    const auto value = hn::IfThenElseZero(hn::FirstN(d, count), exp(d, hn::Sub(logit, largest)));
    hn::Store(value, d, to.values + i);
    sum = hn::Add(sum, value);
  }
  to.sum = hn::GetLane(hn::SumOfLanes(d, sum));
}

float weighted_sum(const Numerators& numerators, const float* weights, std::size_t bins) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  auto sum = hn::Zero(d);
  for (std::size_t i = 0; i < bins; i += lanes) {
    const auto weight = bins - i >= lanes ? load(d, weights + i) : load_some(d, weights + i, bins - i);
    sum = hn::MulAdd(hn::Load(d, numerators.values + i), weight, sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

void edge_boxes_rows(const EdgeBoxesArgs& args, std::int64_t first, std::int64_t last) {
  const auto bins = static_cast<std::size_t>(args.edges.bins);
  Numerators numerators;
  for (std::int64_t r = first; r < last; ++r) {
    float reach[4];  // of each edge from the centre, in sizes of the reference
    for (int e = 0; e < 4; ++e) {
      softmax_numerators(args.edges.logits + (r * 4 + e) * args.edges.bins, bins, numerators);
      reach[e] = 0.5f + weighted_sum(numerators, args.weights, bins) / numerators.sum / args.scale;
    }
    const float* box = args.reference + r * 4;
    const float centre_x = box[0], centre_y = box[1], width = box[2], height = box[3];
    float* y = args.y + r * 4;
    y[0] = centre_x + 0.5f * (reach[2] - reach[0]) * width;
    y[1] = centre_y + 0.5f * (reach[3] - reach[1]) * height;
    y[2] = (reach[0] + reach[2]) * width;
    y[3] = (reach[1] + reach[3]) * height;
  }
}

template <typename Y>
void edge_peaks_rows(const EdgePeaksArgs& args, std::int64_t first, std::int64_t last) {
  const auto bins = static_cast<std::size_t>(args.edges.bins);
  const auto put = [](float value, Y* to) {
    if constexpr (sizeof(Y) == sizeof(float)) {
      *to = value;
    } else {
      *to = bf16_from_float(value);
    }
  };
  Numerators numerators;
  float peaks[EdgeLogits::kMaxBins];
  for (std::int64_t edge = first * 4; edge < last * 4; ++edge) {
    softmax_numerators(args.edges.logits + edge * args.edges.bins, bins, numerators);
    Y* y = static_cast<Y*>(args.y) + edge * (args.k + 1);
    // Insertion into the few largest so far: most values are below all of them.
    int count = 0;
    for (std::size_t i = 0; i < bins; ++i) {
      const float value = numerators.values[i];
      if (count == args.k && value <= peaks[count - 1]) continue;
      int at = count < args.k ? count++ : count - 1;
      for (; at > 0 && peaks[at - 1] < value; --at) peaks[at] = peaks[at - 1];
      peaks[at] = value;
    }
    float total = 0.0f;
    for (int i = 0; i < args.k; ++i) {
      const float value = peaks[i] / numerators.sum;
      total += value;
      put(value, y + i);
    }
    put(total / static_cast<float>(args.k), y + args.k);
  }
}

void edge_peaks_f32(const EdgePeaksArgs& args, std::int64_t first, std::int64_t last) {
  edge_peaks_rows<float>(args, first, last);
}
void edge_peaks_bf16(const EdgePeaksArgs& args, std::int64_t first, std::int64_t last) {
  edge_peaks_rows<std::uint16_t>(args, first, last);
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(edge_boxes_rows);
HWY_EXPORT(edge_peaks_f32);
HWY_EXPORT(edge_peaks_bf16);

static void check(const char* op, const EdgeLogits& edges) {
  if (edges.rows < 0 || edges.bins < 1 || edges.bins > EdgeLogits::kMaxBins) {
    fail(Error::Code::argument, "{}: {} rows of {} bins; 1 .. {} bins are wanted", op, edges.rows, edges.bins,
         EdgeLogits::kMaxBins);
  }
}

void edge_boxes(const EdgeBoxesArgs& args, const ThreadPool& pool) {
  check("edge_boxes", args.edges);
  if (!(args.scale > 0.0f)) fail(Error::Code::argument, "edge_boxes: scale {}; a positive one is wanted", args.scale);
  const auto rows = HWY_DYNAMIC_DISPATCH(edge_boxes_rows);
  for_each_row_block(pool, args.edges.rows, 4 * args.edges.bins,
                     [&](std::int64_t first, std::int64_t last) { rows(args, first, last); });
}

void edge_peaks(const EdgePeaksArgs& args, const ThreadPool& pool) {
  check("edge_peaks", args.edges);
  if (args.k < 1 || args.k > args.edges.bins) {
    fail(Error::Code::argument, "edge_peaks: {} peaks of {} bins", args.k, args.edges.bins);
  }
  if (args.y_dtype != DType::f32 && args.y_dtype != DType::bf16) {
    fail(Error::Code::unsupported, "edge_peaks: {}; f32 or bf16 is needed", name_of(args.y_dtype));
  }
  const auto rows =
      args.y_dtype == DType::f32 ? HWY_DYNAMIC_DISPATCH(edge_peaks_f32) : HWY_DYNAMIC_DISPATCH(edge_peaks_bf16);
  for_each_row_block(pool, args.edges.rows, 4 * args.edges.bins,
                     [&](std::int64_t first, std::int64_t last) { rows(args, first, last); });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
