#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/yuv_to_bgr.h"

namespace vistazo::testing {

// A frame of random samples with gaps of 0xee behind its rows, and what describes it.
struct YuvFrame {
  std::vector<std::uint8_t> y, chroma;
  YuvToBgrArgs args{};  // its pointers are to this frame; bgr is the test's business

  YuvFrame(int height, int width, int chroma_step, int gap, unsigned seed) {
    const int columns = (width + 1) / 2, rows = (height + 1) / 2;
    args.height = height;
    args.width = width;
    args.chroma_step = chroma_step;
    args.y_row_bytes = width + gap;
    args.chroma_row_bytes = columns * chroma_step + gap;
    const auto planes = static_cast<std::size_t>(chroma_step == 1 ? 2 : 1);
    y = random_rows(static_cast<std::size_t>(height), static_cast<std::size_t>(width), gap, seed);
    chroma = random_rows(planes * static_cast<std::size_t>(rows), static_cast<std::size_t>(columns * chroma_step), gap,
                         seed + 1);
    args.y = y.data();
    args.u = chroma.data();
    args.v = chroma_step == 2 ? args.u + 1 : args.u + rows * args.chroma_row_bytes;
    args.bgr_row_bytes = std::int64_t{3} * width;
  }
  YuvFrame(const YuvFrame&) = delete;
  YuvFrame& operator=(const YuvFrame&) = delete;

 private:
  static std::vector<std::uint8_t> random_rows(std::size_t rows, std::size_t columns, int gap, unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<std::uint8_t> bytes;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < columns; ++c) bytes.push_back(static_cast<std::uint8_t>(generator() >> 8));
      bytes.insert(bytes.end(), static_cast<std::size_t>(gap), 0xee);
    }
    return bytes;
  }
};

}  // namespace vistazo::testing
