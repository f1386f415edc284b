#include <algorithm>
#include <iterator>
#include <limits>

#include "kernels/cuda/gemm/tiles.h"

namespace vistazo::cuda {
namespace {

// Costs are fitted to the times of the layers in docs/kernels; tests/gpu/fit_gemm_costs.py writes them.
constexpr TileShape kTiles[] = {
    {TileKernel::single, 64, 32, 64, 6, 1, {1.147f, 0.235f, 0.812f, 0.139f, 0.000f, 0.000f, 0.000f}},
    {TileKernel::single, 64, 64, 64, 4, 1, {1.810f, 0.272f, 0.798f, 0.189f, 0.163f, 0.056f, 0.000f}},
    {TileKernel::single, 64, 64, 64, 6, 1, {1.488f, 0.241f, 1.280f, 0.181f, 0.541f, 0.000f, 0.001f}},
    {TileKernel::single, 64, 64, 64, 6, 2, {2.794f, 0.238f, 2.205f, 0.181f, 0.495f, 0.000f, 0.000f}},
    {TileKernel::single, 64, 64, 64, 6, 4, {3.144f, 0.211f, 2.398f, 0.180f, 0.000f, 0.000f, 0.000f}},
    {TileKernel::single, 128, 32, 32, 9, 1, {1.384f, 0.229f, 1.475f, 0.167f, 0.597f, 0.150f, 0.000f}},
    {TileKernel::single, 128, 64, 32, 9, 1, {1.937f, 0.261f, 1.539f, 0.213f, 1.509f, 0.030f, 0.020f}},
    {TileKernel::single, 128, 128, 64, 3, 1, {3.119f, 0.439f, 2.362f, 0.591f, 2.383f, 0.216f, 0.022f}},
    {TileKernel::single, 128, 256, 64, 4, 1, {4.501f, 0.602f, 6.797f, 0.673f, 7.459f, 10.527f, 1.132f}},
    {TileKernel::single, 128, 64, 64, 4, 1, {1.995f, 0.321f, 1.899f, 0.357f, 2.488f, 0.545f, 0.000f}},
    {TileKernel::single, 128, 64, 64, 4, 2, {3.538f, 0.306f, 3.508f, 0.312f, 0.987f, 0.876f, 0.000f}},
    {TileKernel::single, 128, 128, 64, 3, 2, {4.847f, 0.500f, 2.959f, 0.549f, 1.981f, 0.184f, 0.000f}},
    {TileKernel::single, 128, 128, 64, 3, 4, {5.096f, 0.569f, 3.708f, 0.631f, 0.000f, 2.428f, 0.918f}},
    {TileKernel::kept, 64, 64, 64, 0, 1, {2.084f, 0.284f, 0.493f, 0.166f, 0.081f, 0.018f, 0.035f}},
    {TileKernel::kept, 64, 128, 64, 0, 1, {2.515f, 0.322f, 0.515f, 0.182f, 0.360f, 0.000f, 0.308f}},
    {TileKernel::kept, 64, 192, 64, 0, 1, {2.776f, 0.311f, 0.634f, 0.203f, 1.427f, 0.827f, 0.412f}},
    {TileKernel::kept, 64, 256, 64, 0, 1, {3.225f, 0.231f, 0.723f, 0.273f, 2.574f, 1.073f, 0.821f}},
    {TileKernel::streamed, 128, 128, 64, 7, 1, {2.203f, 0.334f, 1.178f, 0.444f, 2.400f, 1.124f, 0.266f}},
    {TileKernel::streamed, 128, 192, 64, 5, 1, {3.080f, 0.445f, 1.146f, 0.619f, 3.010f, 1.288f, 1.161f}},
    {TileKernel::streamed, 192, 192, 64, 4, 1, {3.862f, 0.651f, 1.390f, 0.880f, 6.703f, 3.083f, 1.559f}},
    {TileKernel::streamed, 128, 256, 64, 4, 1, {4.087f, 0.560f, 1.602f, 0.852f, 4.065f, 1.523f, 1.234f}},
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
