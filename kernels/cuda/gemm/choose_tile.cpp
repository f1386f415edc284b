#include <algorithm>
#include <iterator>
#include <limits>

#include "kernels/cuda/gemm/tiles.h"

namespace vistazo::cuda {
namespace {

// Costs are fitted to the times of the layers in docs/kernels; tests/gpu/fit_gemm_costs.py writes them.
constexpr TileShape kTiles[] = {
    {TileKernel::single, 64, 32, 64, 6, 1, {1.152f, 0.236f, 0.706f, 0.155f, 0.000f, 0.000f, 0.001f}},
    {TileKernel::single, 64, 64, 64, 4, 1, {2.012f, 0.251f, 0.958f, 0.187f, 0.304f, 0.122f, 0.000f}},
    {TileKernel::single, 64, 64, 64, 6, 1, {1.432f, 0.251f, 1.196f, 0.198f, 0.197f, 0.079f, 0.056f}},
    {TileKernel::single, 64, 64, 64, 6, 2, {2.834f, 0.237f, 2.170f, 0.185f, 0.227f, 0.091f, 0.000f}},
    {TileKernel::single, 64, 64, 64, 6, 4, {3.276f, 0.178f, 2.312f, 0.229f, 0.000f, 0.000f, 0.382f}},
    {TileKernel::single, 128, 32, 32, 9, 1, {1.551f, 0.222f, 1.476f, 0.169f, 0.339f, 0.136f, 0.000f}},
    {TileKernel::single, 128, 64, 32, 9, 1, {2.115f, 0.250f, 1.577f, 0.213f, 0.473f, 0.189f, 0.205f}},
    {TileKernel::single, 128, 128, 64, 3, 1, {3.141f, 0.453f, 2.412f, 0.557f, 1.954f, 0.782f, 0.683f}},
    {TileKernel::single, 128, 256, 64, 4, 1, {4.504f, 0.602f, 6.834f, 0.664f, 11.381f, 4.552f, 2.580f}},
    {TileKernel::single, 128, 64, 64, 4, 1, {2.222f, 0.302f, 1.768f, 0.364f, 1.247f, 0.499f, 0.004f}},
    {TileKernel::single, 128, 64, 64, 4, 2, {3.706f, 0.303f, 2.594f, 0.337f, 0.783f, 0.313f, 0.000f}},
    {TileKernel::single, 128, 128, 64, 3, 2, {5.094f, 0.463f, 3.252f, 0.524f, 0.971f, 0.388f, 0.001f}},
    {TileKernel::single, 128, 128, 64, 3, 4, {5.289f, 0.579f, 2.885f, 0.649f, 0.150f, 0.060f, 1.273f}},
    {TileKernel::kept, 64, 64, 64, 0, 1, {2.134f, 0.284f, 0.487f, 0.167f, 0.050f, 0.020f, 0.140f}},
    {TileKernel::kept, 64, 128, 64, 0, 1, {2.640f, 0.307f, 0.490f, 0.189f, 0.319f, 0.128f, 0.565f}},
    {TileKernel::kept, 64, 192, 64, 0, 1, {2.623f, 0.348f, 0.623f, 0.204f, 1.382f, 0.553f, 0.785f}},
    {TileKernel::kept, 64, 256, 64, 0, 1, {3.443f, 0.197f, 0.617f, 0.294f, 1.766f, 0.706f, 1.822f}},
    {TileKernel::streamed, 128, 128, 64, 7, 1, {2.324f, 0.324f, 1.150f, 0.439f, 2.620f, 1.048f, 0.687f}},
    {TileKernel::streamed, 128, 192, 64, 5, 1, {3.182f, 0.440f, 1.106f, 0.618f, 2.740f, 1.096f, 1.733f}},
    {TileKernel::streamed, 192, 192, 64, 4, 1, {3.885f, 0.656f, 1.499f, 0.857f, 6.327f, 2.531f, 2.200f}},
    {TileKernel::streamed, 128, 256, 64, 4, 1, {4.141f, 0.556f, 1.629f, 0.836f, 3.912f, 1.565f, 1.837f}},
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
