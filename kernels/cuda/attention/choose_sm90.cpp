#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/cuda/attention/tiles.h"

namespace vistazo::cuda {

// Times are fitted to an H200 at dimensions 64 and 32: a round of items costs a constant and a time for each tile of
// keys. With one consumer to a block two blocks share a multiprocessor, and the next kernel finds room early, which
// suits few items; three consumers read K and V a third as often, four a quarter, and hide more of each other's waits,
// where items of 256 queries fit. A cluster starts and ends slowly: its blocks pay from about 1500 keys on, where they
// fill multiprocessors that were idle. Pairs (sm90_pair.cu) take half as many steps of 64 keys; nothing speaks for them
// once every multiprocessor has more than its two blocks.
std::array<Sm90Estimate, 5> estimate_sm90(const AttentionArgs& args, int multiprocessors) {
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
  const double one = (is_alone ? 0.4 : 1.3) +
                     std::max(1.0, (rounds + std::ceil(rounds)) / 2) * round(2.0, is_alone ? 0.8 : 1.04, tiles(128, 1));
  const double three = 1.0 + std::ceil(items(3) / multiprocessors) * round(1.9, 0.99, tiles(96, 1));
  const double four = 1.0 + std::ceil(items(4) / multiprocessors) * round(2.0, 0.86, tiles(64, 1));
  const double clusters = std::ceil(items(3) / (multiprocessors / 2)) * round(7.5, 1.05, tiles(96, 2));
  const double pairs = rounds <= 1 ? round(is_alone ? 1.5 : 2.6, is_alone ? 0.8 : 1.1, tiles(64, 2))
                                   : std::numeric_limits<double>::infinity();
  return {{{{1, 1, multiprocessors}, one},
           {{3, 1, multiprocessors}, three},
           {{4, 1, multiprocessors}, four},
           {{3, 2, multiprocessors}, clusters},
           {{1, 1, multiprocessors, true}, pairs}}};
}

Sm90Choice choose_sm90(const AttentionArgs& args, int multiprocessors) {
  const auto estimates = estimate_sm90(args, multiprocessors);
  return std::min_element(estimates.begin(), estimates.end(),
                          [](const Sm90Estimate& a, const Sm90Estimate& b) { return a.microseconds < b.microseconds; })
      ->choice;
}

}  // namespace vistazo::cuda
