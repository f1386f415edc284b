#include <algorithm>
#include <iterator>
#include <limits>

#include "kernels/cuda/gemm/tiles.h"

namespace vistazo::cuda {
namespace {

// Costs are fitted to the times of the layers in docs/kernels; tests/gpu/fit_gemm_costs.py writes them.
constexpr TileShape kTiles[] = {
    {TileKernel::single, 64, 32, 64, 6, 1, {1.06f, 0.131f, 0.65f, 0.144f}},
    {TileKernel::single, 64, 64, 64, 4, 1, {1.32f, 0.164f, 0.84f, 0.178f}},
    {TileKernel::single, 64, 64, 64, 6, 1, {1.10f, 0.157f, 1.11f, 0.186f}},
    {TileKernel::single, 64, 64, 64, 6, 2, {1.80f, 0.086f, 1.77f, 0.193f}},
    {TileKernel::single, 64, 64, 64, 6, 4, {1.34f, 0.051f, 2.31f, 0.198f}},
    {TileKernel::single, 128, 32, 32, 9, 1, {0.69f, 0.158f, 1.22f, 0.163f}},
    {TileKernel::single, 128, 64, 32, 9, 1, {0.89f, 0.199f, 1.48f, 0.179f}},
    {TileKernel::single, 128, 128, 64, 3, 1, {1.92f, 0.360f, 2.19f, 0.385f}},
    {TileKernel::single, 128, 256, 64, 4, 1, {3.13f, 0.465f, 5.01f, 0.633f}},
    {TileKernel::single, 128, 64, 64, 4, 1, {1.36f, 0.217f, 1.38f, 0.297f}},
    // Not measured yet, and so not chosen.
    {TileKernel::single, 128, 64, 64, 4, 2, {}},
    {TileKernel::single, 128, 128, 64, 3, 2, {}},
    {TileKernel::single, 128, 128, 64, 3, 4, {}},
    {TileKernel::kept, 64, 64, 64, 0, 1, {}},
    {TileKernel::kept, 64, 128, 64, 0, 1, {}},
    {TileKernel::kept, 64, 192, 64, 0, 1, {}},
    {TileKernel::kept, 64, 256, 64, 0, 1, {}},
    {TileKernel::streamed, 128, 128, 64, 7, 1, {}},
    {TileKernel::streamed, 128, 192, 64, 5, 1, {}},
    {TileKernel::streamed, 192, 192, 64, 4, 1, {}},
    {TileKernel::streamed, 128, 256, 64, 4, 1, {}},
};
static_assert(std::size(kTiles) == kSm90Tiles);

constexpr int kMultiprocessors = 132;  // of an H200

std::int64_t groups_of(std::int64_t count, std::int64_t group) {
  return (count + group - 1) / group;
}

float cost_us(const TileShape& tile, const ProductSize& size) {
  const TileWork work = work_of(tile, size);
  const TileCost& cost = tile.cost;
  return cost.start + work.steps * cost.chain + work.waves * (cost.wave + work.steps * cost.step);
}

}  // namespace

std::span<const TileShape> sm90_tiles() {
  return kTiles;
}

TileWork work_of(const TileShape& tile, const ProductSize& size) {
  const std::int64_t row_tiles = groups_of(size.rows, tile.rows);
  const std::int64_t columns = groups_of(size.columns, tile.columns) * size.groups;
  const auto steps = static_cast<float>(groups_of(size.channels, tile.step) * size.taps);
  const auto splits = static_cast<float>(tile.splits);
  switch (tile.kernel) {
    case TileKernel::single:
      break;
    case TileKernel::kept: {
      // As many blocks for each column of tiles as multiprocessors permit; more columns than those follow each other.
      const std::int64_t ranges = std::max<std::int64_t>(1, kMultiprocessors / columns);
      return {steps, static_cast<float>(groups_of(row_tiles, ranges) * groups_of(columns * ranges, kMultiprocessors))};
    }
    case TileKernel::streamed:
      return {steps, static_cast<float>(groups_of(row_tiles * columns, kMultiprocessors))};
  }
  return {steps / splits, static_cast<float>(row_tiles * columns) * splits / static_cast<float>(kMultiprocessors)};
}

bool fits(const TileShape& tile, const ProductSize& size) {
  return tile.kernel != TileKernel::kept ||
         groups_of(size.channels, tile.step) * size.taps <= most_kept_steps(tile.columns);
}

bool can_run(const TileShape& tile, const Gemm& gemm) {
  if (tile.kernel == TileKernel::single) return true;
  const int pairs = pairs_of(gemm.y_dtype);
  return fits(tile, size_of(gemm)) && are_groups_stored(gemm, 2 * pairs) && gemm.columns % (8 * pairs) == 0;
}

const TileShape& choose_sm90_tile(const Gemm& gemm) {
  const ProductSize size = size_of(gemm);
  const auto cost = [&](const TileShape& tile) {
    const bool is_choice = tile.cost.wave + tile.cost.step > 0 && can_run(tile, gemm);
    return is_choice ? cost_us(tile, size) : std::numeric_limits<float>::infinity();
  };
  return *std::min_element(std::begin(kTiles), std::end(kTiles),
                           [&](const TileShape& a, const TileShape& b) { return cost(a) < cost(b); });
}

}  // namespace vistazo::cuda
