#include <algorithm>
#include <iterator>
#include <limits>

#include "kernels/cuda/gemm/tiles.h"

namespace vistazo::cuda {
namespace {

// Costs are fitted to the times of the layers in docs/kernels; tests/gpu/fit_gemm_costs.py writes them.
constexpr TileShape kTiles[] = {
    {TileKernel::single, 64, 32, 64, 6, 1, {1.560f, 0.130f, 0.388f, 0.153f, 0.000f, 0.030f, 0.000f}},
    {TileKernel::single, 64, 64, 64, 4, 1, {1.599f, 0.192f, 0.544f, 0.186f, 0.246f, 0.039f, 0.000f}},
    {TileKernel::single, 64, 64, 64, 6, 1, {1.946f, 0.138f, 0.681f, 0.190f, 0.524f, 0.036f, 0.000f}},
    {TileKernel::single, 64, 64, 64, 6, 2, {2.593f, 0.233f, 1.398f, 0.207f, 0.251f, 0.241f, 0.000f}},
    {TileKernel::single, 64, 64, 64, 6, 4, {3.017f, 0.125f, 2.392f, 0.213f, 0.000f, 0.000f, 0.051f}},
    {TileKernel::single, 128, 32, 32, 9, 1, {1.788f, 0.140f, 0.784f, 0.189f, 0.723f, 0.236f, 0.000f}},
    {TileKernel::single, 128, 64, 32, 9, 1, {2.012f, 0.162f, 1.058f, 0.256f, 1.410f, 0.049f, 0.127f}},
    {TileKernel::single, 128, 128, 64, 3, 1, {2.972f, 0.372f, 1.818f, 0.585f, 2.199f, 0.439f, 0.006f}},
    {TileKernel::single, 128, 256, 64, 4, 1, {4.313f, 0.550f, 6.044f, 0.686f, 7.284f, 6.722f, 0.985f}},
    {TileKernel::single, 128, 64, 64, 4, 1, {1.843f, 0.234f, 1.085f, 0.389f, 2.435f, 0.764f, 0.000f}},
    {TileKernel::single, 128, 64, 64, 4, 2, {3.314f, 0.260f, 3.196f, 0.301f, 0.291f, 0.301f, 0.000f}},
    {TileKernel::single, 128, 128, 64, 3, 2, {4.828f, 0.356f, 3.383f, 0.539f, 1.384f, 0.058f, 0.000f}},
    {TileKernel::single, 128, 128, 64, 3, 4, {5.204f, 0.417f, 4.212f, 0.600f, 0.000f, 1.051f, 1.249f}},
    {TileKernel::kept, 64, 64, 64, 0, 1, {2.299f, 0.162f, 0.195f, 0.125f, 0.550f, 0.178f, 0.010f}},
    {TileKernel::kept, 64, 128, 64, 0, 1, {2.337f, 0.215f, 0.358f, 0.127f, 0.587f, 0.208f, 0.401f}},
    {TileKernel::kept, 64, 192, 64, 0, 1, {3.091f, 0.189f, 0.411f, 0.198f, 1.245f, 0.607f, 0.295f}},
    {TileKernel::kept, 64, 256, 64, 0, 1, {3.350f, 0.266f, 0.864f, 0.248f, 1.900f, 0.564f, 0.858f}},
    {TileKernel::streamed, 128, 128, 64, 7, 1, {2.198f, 0.252f, 0.980f, 0.410f, 2.046f, 0.960f, 0.376f}},
    {TileKernel::streamed, 128, 192, 64, 5, 1, {2.925f, 0.389f, 1.129f, 0.649f, 5.057f, 1.283f, 0.735f}},
    {TileKernel::streamed, 192, 192, 64, 4, 1, {3.631f, 0.684f, 1.115f, 0.870f, 9.684f, 3.631f, 1.330f}},
    {TileKernel::streamed, 128, 256, 64, 4, 1, {3.765f, 0.605f, 1.708f, 0.847f, 2.795f, 2.530f, 0.594f}},
};
static_assert(std::size(kTiles) == kSm90Tiles);

constexpr int kMultiprocessors = 132;  // of an H200

std::int64_t groups_of(std::int64_t count, std::int64_t group) {
  return (count + group - 1) / group;
}

float cost_us(const TileShape& tile, const Gemm& gemm) {
  const TileWork work = work_of(tile, size_of(gemm));
  const TileCost& cost = tile.cost;
  const bool is_heavy = gemm.activation == Activation::gelu || gemm.activation == Activation::silu;
  const float sum = !gemm.accumulate ? 0.0f : gemm.y_dtype == DType::f32 ? cost.sum : cost.narrow_sum;
  return cost.start + work.steps * cost.chain + std::max(0.0f, work.waves - 1) * (cost.wave + work.steps * cost.step) +
         work.waves * (sum + (is_heavy ? cost.gelu : 0.0f));
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
  const auto cost = [&](const TileShape& tile) {
    const bool is_choice = tile.cost.start + tile.cost.chain > 0 && can_run(tile, gemm);
    return is_choice ? cost_us(tile, gemm) : std::numeric_limits<float>::infinity();
  };
  return *std::min_element(std::begin(kTiles), std::end(kTiles),
                           [&](const TileShape& a, const TileShape& b) { return cost(a) < cost(b); });
}

}  // namespace vistazo::cuda
