// Resize of a grid of vectors. Runs once per image size on a grid of some 40 x 40 vectors, so it is plain: each output
// vector is the weighted sum of its taps, whose weights are computed where they are used.
//
// Weights are f32 and their roundings are those of PyTorch's CPU kernels (aten/src/ATen/native/cpu/UpSampleKernel.cpp),
// which the compiler fuses into multiply-adds there: the cubic cancels, so that unfused or exact weights are off by
// 3e-6, these by less than 1e-6.
#include "kernels/grid_resize.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"

namespace vistazo::cpu {
namespace {

// Keys' piecewise cubic (Keys 1981, "Cubic convolution interpolation"), with its free parameter a.
float cubic(float distance, float a) {
  const float x = std::abs(distance);
  if (x < 1.0f) return std::fma(std::fma(a + 2, x, -(a + 3)) * x, x, 1.0f);
  if (x < 2.0f) return std::fma(std::fma(std::fma(a, x, -5 * a), x, 8 * a), x, -4 * a);
  return 0.0f;
}

float triangle(float distance) {
  const float x = std::abs(distance);
  return x < 1.0f ? 1.0f - x : 0.0f;
}

// The taps of one output position along one axis: input positions begin .. begin + count, clamped to the grid where
// PyTorch repeats the border, and a weight for each.
class Taps {
 public:
  Taps(int position, int in_size, int out_size, Interpolation interpolation, bool antialias)
      : in_size_(in_size), is_cubic_(interpolation == Interpolation::bicubic), antialias_(antialias) {
    const float scale = static_cast<float>(in_size) / static_cast<float>(out_size);
    const float centre = static_cast<float>(position) + 0.5f;
    if (antialias) {
      place_antialiased(scale * centre, scale);
    } else {
      place(std::fma(scale, centre, -0.5f));
    }
  }

  int count() const { return count_; }
  int input(int tap) const { return std::clamp(begin_ + tap, 0, in_size_ - 1); }
  float weight(int tap) const {
    if (!antialias_) {
      const float distance = share_ - static_cast<float>(tap - (is_cubic_ ? 1 : 0));
      return is_cubic_ ? cubic(distance, -0.75f) : triangle(distance);
    }
    return kernel(tap) / sum_;
  }

 private:
  // Two or four taps around `source`.
  void place(float source) {
    if (!is_cubic_) source = std::max(source, 0.0f);
    const int left = std::min(static_cast<int>(std::floor(source)), in_size_ - 1);
    share_ = std::clamp(source - static_cast<float>(left), 0.0f, 1.0f);
    begin_ = is_cubic_ ? left - 1 : left;
    count_ = is_cubic_ ? 4 : 2;
  }

  // As many taps as the kernel covers when it is widened by the shrinking factor; they are cut at the border of the
  // grid and normalised.
  void place_antialiased(float middle, float scale) {
    const float support = (is_cubic_ ? 2.0f : 1.0f) * std::max(scale, 1.0f);
    inverse_scale_ = scale >= 1.0f ? 1.0f / scale : 1.0f;
    middle_ = middle;
    begin_ = std::max(static_cast<int>(middle - support + 0.5f), 0);
    count_ = std::min(static_cast<int>(middle + support + 0.5f), in_size_) - begin_;
    sum_ = 0.0f;
    for (int tap = 0; tap < count_; ++tap) sum_ += kernel(tap);
  }

  float kernel(int tap) const {
    const float distance = (static_cast<float>(tap + begin_) - middle_ + 0.5f) * inverse_scale_;
    return is_cubic_ ? cubic(distance, -0.5f) : triangle(distance);
  }

  int in_size_, begin_ = 0, count_ = 0;
  bool is_cubic_, antialias_;
  float share_ = 0.0f, middle_ = 0.0f, inverse_scale_ = 1.0f, sum_ = 1.0f;
};

}  // namespace

void grid_resize(const GridResizeArgs& args) {
  if (args.height < 1 || args.width < 1 || args.out_height < 1 || args.out_width < 1 || args.channels < 1) {
    fail(Error::Code::argument, "grid_resize: {} x {} to {} x {}, {} channels", args.height, args.width,
         args.out_height, args.out_width, args.channels);
  }
  float* y = args.y;
  for (int i = 0; i < args.out_height; ++i) {
    const Taps rows(i, args.height, args.out_height, args.interpolation, args.antialias);
    for (int j = 0; j < args.out_width; ++j, y += args.channels) {
      const Taps columns(j, args.width, args.out_width, args.interpolation, args.antialias);
      std::fill_n(y, args.channels, 0.0f);
      for (int column = 0; column < columns.count(); ++column) {
        const float column_weight = columns.weight(column);
        for (int row = 0; row < rows.count(); ++row) {
          const float weight = column_weight * rows.weight(row);
          const float* x =
              args.x + (std::int64_t{rows.input(row)} * args.width + columns.input(column)) * args.channels;
          for (int c = 0; c < args.channels; ++c) y[c] += weight * x[c];
        }
      }
    }
  }
}

}  // namespace vistazo::cpu
