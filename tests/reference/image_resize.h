#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace vistazo::reference {

// Weights of one output position in double. Antialias: a triangle as wide as the shrinking factor, cut at the border
// and normalised. Otherwise the two nearest pixels.
struct ResizeWeights {
  int start;
  std::vector<double> weights;
};

inline ResizeWeights image_resize_weights(int out, int in_size, int out_size, bool antialias) {
  const double scale = double(in_size) / out_size;
  if (!antialias) {
    const double source = std::max((out + 0.5) * scale - 0.5, 0.0);
    const int left = std::min(int(source), in_size - 1);
    if (left + 1 == in_size) return {left, {1.0}};
    return {left, {1 - (source - left), source - left}};
  }
  const double support = std::max(scale, 1.0), centre = (out + 0.5) * scale;
  ResizeWeights result = {std::max(int(centre - support + 0.5), 0), {}};
  double sum = 0.0;
  for (int in = result.start; in < std::min(int(centre + support + 0.5), in_size); ++in) {
    result.weights.push_back(std::max(1 - std::abs(in + 0.5 - centre) / support, 0.0));
    sum += result.weights.back();
  }
  for (double& weight : result.weights) weight /= sum;
  return result;
}

// A dense interleaved image (height, width, channels).
using Bytes = std::vector<std::uint8_t>;

// Not rounded in between or at the end.
inline std::vector<double> image_resize_exact(const Bytes& pixels, int height, int width, int channels, int out_height,
                                              int out_width, bool antialias) {
  std::vector<double> out(std::size_t(out_height) * out_width * channels, 0.0);
  for (int i = 0; i < out_height; ++i) {
    const ResizeWeights rows = image_resize_weights(i, height, out_height, antialias);
    for (int j = 0; j < out_width; ++j) {
      const ResizeWeights columns = image_resize_weights(j, width, out_width, antialias);
      for (std::size_t r = 0; r < rows.weights.size(); ++r) {
        for (std::size_t c = 0; c < columns.weights.size(); ++c) {
          for (int k = 0; k < channels; ++k) {
            out[(std::size_t(i) * out_width + j) * channels + k] +=
                rows.weights[r] * columns.weights[c] *
                pixels[((rows.start + r) * width + columns.start + c) * channels + k];
          }
        }
      }
    }
  }
  return out;
}

// One pass along x in 22-bit fixed point, rounded to uint8; transposes, so that two passes resize both axes.
// (height, width, channels) -> (out_width, height, channels).
inline Bytes image_resize_pass(const Bytes& pixels, int height, int width, int channels, int out_width,
                               bool antialias) {
  Bytes out(std::size_t(out_width) * height * channels);
  for (int j = 0; j < out_width; ++j) {
    const ResizeWeights columns = image_resize_weights(j, width, out_width, antialias);
    std::vector<int> fixed;
    for (const double weight : columns.weights) fixed.push_back(int(std::floor(weight * (1 << 22) + 0.5)));
    for (int i = 0; i < height; ++i) {
      for (int k = 0; k < channels; ++k) {
        int sum = 1 << 21;
        for (std::size_t c = 0; c < fixed.size(); ++c) {
          sum += fixed[c] * pixels[(std::size_t(i) * width + columns.start + c) * channels + k];
        }
        out[(std::size_t(j) * height + i) * channels + k] = std::uint8_t(std::clamp(sum >> 22, 0, 255));
      }
    }
  }
  return out;
}

// The plain loop that the kernel must equal: Pillow's arithmetic.
inline Bytes image_resize(const Bytes& pixels, int height, int width, int channels, int out_height, int out_width,
                          bool antialias) {
  const Bytes columns = image_resize_pass(pixels, height, width, channels, out_width, antialias);
  return image_resize_pass(columns, out_width, height, channels, out_height, antialias);
}

}  // namespace vistazo::reference
