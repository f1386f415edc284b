#pragma once

#include <cstdint>

namespace vistazo {

// An image grid of patches cut into windows x windows equal windows. Tokens are window-major: window (i, j) comes
// i * windows + j-th, inside it first `prefix` tokens that are no patch (the class token), then its patches row-major.
struct WindowGrid {
  int height, width;  // in patches; multiples of windows
  int windows;        // a side; 1 is no windowing
  int prefix;

  int window_count() const { return windows * windows; }
  int window_tokens() const { return prefix + (height / windows) * (width / windows); }
  int tokens() const { return window_count() * window_tokens(); }
  bool is_valid() const {
    return windows > 0 && height > 0 && width > 0 && prefix >= 0 && height % windows == 0 && width % windows == 0;
  }
  // Of (B, tokens()) rows that of a patch, counted over (B, height, width).
  std::int64_t token_row(std::int64_t patch) const {
    const std::int64_t image_row = patch / width, x = patch % width, batch = image_row / height, y = image_row % height;
    const int window_height = height / windows, window_width = width / windows;
    const std::int64_t window = batch * window_count() + y / window_height * windows + x / window_width;
    return window * window_tokens() + prefix + y % window_height * window_width + x % window_width;
  }
};

}  // namespace vistazo
