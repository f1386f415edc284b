#include <algorithm>
#include <iterator>

#include "kernels/cuda/gemm/tiles.h"

namespace vistazo::cuda {
namespace {

// Costs are fitted to the times of the layers in docs/kernels.
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
};
static_assert(std::size(kTiles) == kSm90Tiles);

constexpr int kMultiprocessors = 132;  // of an H200

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
  const auto groups_of = [](std::int64_t count, std::int64_t group) { return (count + group - 1) / group; };
  const std::int64_t tiles = groups_of(size.rows, tile.rows) * groups_of(size.columns, tile.columns) * size.groups;
  const auto steps = static_cast<float>(groups_of(size.channels, tile.step) * size.taps);
  const auto splits = static_cast<float>(tile.splits);
  return {steps / splits, static_cast<float>(tiles) * splits / static_cast<float>(kMultiprocessors)};
}

const TileShape& choose_sm90_tile(const Gemm& gemm) {
  const ProductSize size = size_of(gemm);
  return *std::min_element(std::begin(kTiles), std::end(kTiles),
                           [&](const TileShape& a, const TileShape& b) { return cost_us(a, size) < cost_us(b, size); });
}

}  // namespace vistazo::cuda
