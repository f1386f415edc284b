#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

// Fixed-point weights of a bilinear resize of uint8 pixels along one axis, shared by the CPU and the CUDA kernels so
// that both give the same pixels. With antialias these are Pillow's (src/libImaging/Resample.c): a triangle, widened by
// the shrinking factor, cut at the border and normalised in double, then rounded to 22 fractional bits.
namespace vistazo {

inline constexpr int kResizeBits = 22;

// out_size positions; position i is the weighted sum of inputs start[i] .. start[i] + count[i] with weights
// weight[i * taps ..]. The arrays are the caller's.
struct ResizeAxis {
  int in_size, out_size;
  int taps;  // largest count possible; sizes `weight`
  std::int32_t* start;
  std::int32_t* count;
  std::int32_t* weight;
};

inline int resize_taps(int in_size, int out_size, bool antialias) {
  const double scale = static_cast<double>(in_size) / out_size;
  return antialias ? static_cast<int>(std::ceil(std::max(scale, 1.0))) * 2 + 1 : 2;
}

// The weighted sum's last step: v is Σ weight * pixel, in 0 .. 255 * 2^22 but for rounding.
inline std::uint8_t resized_pixel(std::int32_t v) {
  return static_cast<std::uint8_t>(std::clamp((v + (1 << (kResizeBits - 1))) >> kResizeBits, 0, 255));
}

// Without antialias: two taps around the position that PyTorch's align_corners=False gives.
inline void fill_two_taps(ResizeAxis& axis) {
  const double scale = static_cast<double>(axis.in_size) / axis.out_size;
  for (int i = 0; i < axis.out_size; ++i) {
    const double source = std::max((i + 0.5) * scale - 0.5, 0.0);
    const int left = std::min(static_cast<int>(source), axis.in_size - 1);
    const auto share = static_cast<std::int32_t>(std::lround((source - left) * (1 << kResizeBits)));
    axis.start[i] = left;
    axis.count[i] = left + 1 < axis.in_size && share > 0 ? 2 : 1;
    axis.weight[2 * i] = axis.count[i] == 2 ? (1 << kResizeBits) - share : 1 << kResizeBits;
    axis.weight[2 * i + 1] = share;
  }
}

// `distances` is scratch for axis.taps values.
inline void fill_antialiased(ResizeAxis& axis, double* distances) {
  const double scale = static_cast<double>(axis.in_size) / axis.out_size;
  const double support = std::max(scale, 1.0), inverse_support = 1.0 / support;
  for (int i = 0; i < axis.out_size; ++i) {
    const double centre = (i + 0.5) * scale;
    const int start = std::max(static_cast<int>(centre - support + 0.5), 0);
    int count = std::min(static_cast<int>(centre + support + 0.5), axis.in_size) - start;
    double sum = 0.0;
    for (int tap = 0; tap < count; ++tap) {
      const double distance = std::abs((tap + start - centre + 0.5) * inverse_support);
      distances[tap] = distance < 1.0 ? 1.0 - distance : 0.0;
      sum += distances[tap];
    }
    std::int32_t* weight = axis.weight + static_cast<std::int64_t>(i) * axis.taps;
    for (int tap = 0; tap < count; ++tap) {
      const double share = sum != 0.0 ? distances[tap] / sum : distances[tap];
      weight[tap] = static_cast<std::int32_t>(0.5 + share * (1 << kResizeBits));
    }
    while (count > 1 && weight[count - 1] == 0) --count;
    axis.start[i] = start;
    axis.count[i] = count;
  }
}

}  // namespace vistazo
