// Two rows at a time share their chroma. A vector of 16-bit lanes holds the luma of a row's pixels; seen as 32-bit
// lanes, each has the two pixels that share a sample of chroma, so that no lane ever moves to another's place. Limited
// by the 32-bit products: 8 a vector of chroma.
#include "kernels/yuv_to_bgr.h"

#include <algorithm>

#include "kernels/cpu/row_blocks.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/yuv_to_bgr.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace vistazo::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A row of the frame and one of chroma, from a column on.
struct RowPointers {
  const std::uint8_t *y, *u, *v;
  std::uint8_t* bgr;
};

void convert_pixel(const YuvWeights& w, int y, int u, int v, std::uint8_t* bgr) {
  const auto rounded = [](std::int32_t sum) {
    return static_cast<std::uint8_t>(std::clamp((sum + (1 << (kYuvBits - 1))) >> kYuvBits, 0, 255));
  };
  const std::int32_t luma = (y - w.black) * w.luma;
  bgr[0] = rounded(luma + w.blue_u * (u - 128));
  bgr[1] = rounded(luma + w.green_u * (u - 128) + w.green_v * (v - 128));
  bgr[2] = rounded(luma + w.red_v * (v - 128));
}

#if HWY_TARGET == HWY_SCALAR

int convert_vectors(const YuvToBgrArgs&, const YuvWeights&, const RowPointers (&)[2]) {
  return 0;
}

#else

// One sample of each kind of chroma in a 32-bit lane, less its middle.
template <class D32, class V = hn::Vec<D32>>
HWY_INLINE void load_chroma(D32 d32, const RowPointers& row, int step, int sample, V& u, V& v) {
  const auto middle = hn::Set(d32, 128);
  if (step == 1) {
    const hn::Rebind<std::uint8_t, D32> d8;
    u = hn::PromoteTo(d32, hn::LoadU(d8, row.u + sample));
    v = hn::PromoteTo(d32, hn::LoadU(d8, row.v + sample));
  } else {
    const hn::Rebind<std::uint16_t, D32> d16;
    const hn::Repartition<std::uint8_t, decltype(d16)> d8;
    const auto both = hn::BitCast(d16, hn::LoadU(d8, row.u + 2 * sample));
    u = hn::PromoteTo(d32, hn::And(both, hn::Set(d16, 0xff)));
    v = hn::PromoteTo(d32, hn::ShiftRight<8>(both));
  }
  u = hn::Sub(u, middle);
  v = hn::Sub(v, middle);
}

// The pixels that whole vectors hold; how many that are. args.u is the lower address of the two where they alternate.
int convert_vectors(const YuvToBgrArgs& args, const YuvWeights& w, const RowPointers (&rows)[2]) {
  const hn::CappedTag<std::int16_t, 32> d16;
  const hn::Repartition<std::int32_t, decltype(d16)> d32;
  const hn::Rebind<std::uint8_t, decltype(d16)> d8;
  const int pixels = static_cast<int>(hn::Lanes(d16));
  const auto luma_weight = hn::Set(d32, w.luma), red_v = hn::Set(d32, w.red_v), blue_u = hn::Set(d32, w.blue_u);
  const auto green_u = hn::Set(d32, w.green_u), green_v = hn::Set(d32, w.green_v);
  const auto half = hn::Set(d32, 1 << (kYuvBits - 1));
  int x = 0;
  for (; x + pixels <= args.width; x += pixels) {
    hn::Vec<decltype(d32)> u, v;
    load_chroma(d32, rows[0], args.chroma_step, x / 2, u, v);
    const auto red = hn::Add(hn::Mul(v, red_v), half), blue = hn::Add(hn::Mul(u, blue_u), half);
    const auto green = hn::Add(hn::Add(hn::Mul(u, green_u), hn::Mul(v, green_v)), half);
    for (const RowPointers& row : rows) {
      const auto y =
          hn::Sub(hn::PromoteTo(d16, hn::LoadU(d8, row.y + x)), hn::Set(d16, static_cast<std::int16_t>(w.black)));
      const auto pair = hn::BitCast(d32, y);  // the even pixel lies in the lower half
      const auto even = hn::Mul(hn::ShiftRight<16>(hn::ShiftLeft<16>(pair)), luma_weight);
      const auto odd = hn::Mul(hn::ShiftRight<16>(pair), luma_weight);
      const auto channel = [&](auto chroma) HWY_ATTR {
        const auto lower = hn::And(hn::ShiftRight<kYuvBits>(hn::Add(even, chroma)), hn::Set(d32, 0xffff));
        const auto upper = hn::ShiftLeft<16>(hn::ShiftRight<kYuvBits>(hn::Add(odd, chroma)));
        return hn::DemoteTo(d8, hn::BitCast(d16, hn::Or(lower, upper)));
      };
      hn::StoreInterleaved3(channel(blue), channel(green), channel(red), d8, row.bgr + 3 * x);
    }
  }
  return x;
}

#endif

// Rows 2 * first .. 2 * last of the frame.
void convert_row_pairs(const YuvToBgrArgs& args, std::int64_t first, std::int64_t last) {
  const YuvWeights w = yuv_weights(args.matrix, args.is_full_range);
  for (std::int64_t pair = first; pair < last; ++pair) {
    RowPointers rows[2];
    for (int i = 0; i < 2; ++i) {
      const std::int64_t row = std::min<std::int64_t>(2 * pair + i, args.height - 1);  // an odd height's last, twice
      rows[i] = {args.y + row * args.y_row_bytes, args.u + pair * args.chroma_row_bytes,
                 args.v + pair * args.chroma_row_bytes, args.bgr + row * args.bgr_row_bytes};
    }
    for (int x = convert_vectors(args, w, rows); x < args.width; ++x) {
      const int sample = x / 2 * args.chroma_step;
      for (const RowPointers& r : rows) convert_pixel(w, r.y[x], r.u[sample], r.v[sample], r.bgr + 3 * x);
    }
  }
}

}  // namespace vistazo::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vistazo::cpu {

HWY_EXPORT(convert_row_pairs);

void yuv_to_bgr(const YuvToBgrArgs& args, const ThreadPool& pool) {
  require_valid(args);
  if (args.chroma_step == 2 && args.v != args.u + 1) {
    fail(Error::Code::argument, "yuv_to_bgr: chroma_step 2 wants v right behind u");
  }
  const auto convert = HWY_DYNAMIC_DISPATCH(convert_row_pairs);
  for_each_row_block(pool, (std::int64_t{args.height} + 1) / 2, std::int64_t{2} * args.width,
                     [&](std::int64_t first, std::int64_t last) { convert(args, first, last); });
}

}  // namespace vistazo::cpu
#endif  // HWY_ONCE
