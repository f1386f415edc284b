#pragma once

#include <cstdint>
#include <span>

#include "kernels/cuda/gemm/gemm.h"

// The tile shapes in which the kernels for compute capability 9.0 run a product, and which of them it gets.
namespace vistazo::cuda {

enum class TileKernel : std::uint8_t {
  single,    // sm90.cu: a block finishes one tile
  kept,      // sm90_persistent.cu: a block keeps the weight of its column of tiles in shared memory
  streamed,  // sm90_persistent.cu: each step brings both operands
};

// What a product costs on an H200, in microseconds: start + steps * chain for the first of the waves in which a
// multiprocessor goes through its tiles, wave + steps * step for each after it, and for each wave what its tiles have
// to do behind the sums: `sum` where f32 y is added to, `narrow_sum` where 16-bit y is, `gelu` with that activation or
// silu. Zeros as long as nobody has measured the shape.
struct TileCost {
  float start, chain, wave, step, sum, narrow_sum, gelu;
};

struct TileShape {
  TileKernel kernel;
  int rows, columns;
  int step;    // columns along k at a time
  int stages;  // of the ring of steps; kept: as many as there is room for
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

// What a block of the kernel for kept weights has in shared memory beside weights and its ring: alignment, barriers and
// the bias of at most 256 columns. The ring's stages hold 64 rows of 64 columns along k.
inline constexpr int kSharedBytes = 227 << 10, kKeptFixedBytes = 3 << 10;
inline constexpr int kKeptStageBytes = 64 * 128, kLeastKeptStages = 4;
constexpr int most_kept_steps(int columns) {
  return (kSharedBytes - kKeptFixedBytes - kLeastKeptStages * kKeptStageBytes) / (columns * 128);
}

// Whether the shape's kernel has room for the product; and whether it takes the product at all, which depends on y,
// too.
bool fits(const TileShape& tile, const ProductSize& size);
bool can_run(const TileShape& tile, const Gemm& gemm);

// The cheapest of those that can run it and have been measured.
const TileShape& choose_sm90_tile(const Gemm& gemm);

// sm90_persistent.cu. Error{unsupported} where the tile cannot run the product.
void gemm_sm90_persistent(const char* name, const Gemm& gemm, const TileShape& tile, const MatmulContext& context);

// Pairs of neighbouring columns that a thread of the persistent kernel writes at once, 16 bytes: columns are taken in
// whole sets of four threads' groups.
inline int pairs_of(DType y_dtype) {
  return y_dtype == DType::f32 ? 2 : 4;
}

}  // namespace vistazo::cuda
