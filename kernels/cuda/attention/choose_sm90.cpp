#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention/tiles.h"

namespace vistazo::cuda {

// The division with the least time by a model of sm90.cu, fitted to an H200 at dimensions 64 and 32: a round of items
// costs a constant and a time for each tile of keys. With one consumer to a block two blocks share a multiprocessor,
// and the next kernel finds room early, which suits few items; three consumers read K and V a third as often. A cluster
// starts and ends slowly: its blocks pay from about 1500 keys on, where they fill multiprocessors that were idle.
Sm90Choice choose_sm90(const AttentionArgs& args, int multiprocessors) {
  const bool is_narrow = std::max(args.head_dim, args.value_dim) <= 32;
  const double tile_factor = is_narrow ? 0.85 : 1.0, round_factor = is_narrow ? 0.7 : 1.0;
  const auto tiles = [&](int keys, int split) {
    return std::ceil(std::ceil(static_cast<double>(args.keys) / keys) / split);
  };
  const auto items = [&](int consumers) {
    return static_cast<double>(args.batch) * args.heads * std::ceil(args.queries / (64.0 * consumers));
  };
  // Microseconds of one round and of all.
  const auto round = [&](double constant, double tile, double count) {
    return constant * round_factor + tile * tile_factor * count;
  };
  const double rounds = items(1) / (2.0 * multiprocessors);
  const bool is_alone = items(1) <= multiprocessors;  // one block on each
  // Blocks of two to a multiprocessor drift apart, so that a last round that is not full costs less than one that is.
  const double one = std::max(1.0, (rounds + std::ceil(rounds)) / 2) * round(2.0, is_alone ? 0.8 : 1.1, tiles(128, 1));
  const double three = 1.0 + std::ceil(items(3) / multiprocessors) * round(1.9, 1.05, tiles(96, 1));
  const double pairs = std::ceil(items(3) / (multiprocessors / 2)) * round(6.5, 1.05, tiles(96, 2));
  if (pairs < one && pairs < three) return {3, 2, multiprocessors};
  return {three < one ? 3 : 1, 1, multiprocessors};
}

}  // namespace vistazo::cuda
