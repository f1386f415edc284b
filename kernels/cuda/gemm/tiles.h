#pragma once

#include <cstdint>
#include <span>

#include "kernels/cuda/gemm/gemm.h"

// The tile shapes in which the kernels for compute capability 9.0 run a product, and which of them it gets.
namespace vistazo::cuda {

enum class TileKernel : std::uint8_t {
  single,  // sm90.cu: a block finishes one tile
};

// What a product costs on an H200, in microseconds: start + steps * chain once, and for each of the waves in which a
// multiprocessor goes through its tiles, wave + steps * step. Zeros as long as nobody has measured the shape.
struct TileCost {
  float start, chain, wave, step;
};

struct TileShape {
  TileKernel kernel;
  int rows, columns;
  int step;    // columns along k at a time
  int stages;  // of the ring of steps
  int splits;  // blocks that divide a tile's sums
  TileCost cost;
};

// In the order that MatmulContext::tile counts; kSm90Tiles of them.
std::span<const TileShape> sm90_tiles();

// What the cost of a product depends on. A sum is over `taps` times `channels` products; columns are those of a group.
struct ProductSize {
  std::int64_t rows;
  int columns, groups, channels, taps;
};
inline ProductSize size_of(const Gemm& gemm) {
  return {gemm.rows, gemm.columns, gemm.groups, gemm.channels, gemm.kernel_height * gemm.kernel_width};
}

struct TileWork {
  float steps;  // of a block's tile
  float waves;
};
TileWork work_of(const TileShape& tile, const ProductSize& size);

// The cheapest of those that have been measured.
const TileShape& choose_sm90_tile(const Gemm& gemm);

}  // namespace vistazo::cuda
