#include <algorithm>

#include "kernels/cuda/attention/tiles.h"

namespace vistazo::cuda {

// The division with the least time by a model of sm90.cu, fitted to an H200: a round of items costs a constant and a
// time for each tile of keys. One consumer a block suits few items, for two blocks share a multiprocessor and the next
// kernel finds room early; three read K and V a third as often. A cluster costs more than it saves below about a
// thousand keys.
Sm90Choice choose_sm90(const AttentionArgs& args, int multiprocessors) {
  struct Option {
    int row_groups, key_groups, split, tile_keys, blocks;
    double launch, round, tile;  // microseconds at dimension 64
  };
  constexpr Option kOptions[] = {
      {1, 1, 1, 128, 2, 1.6, 1.0, 1.08}, {3, 1, 1, 96, 1, 1.5, 2.4, 1.04}, {3, 1, 2, 96, 1, 4.6, 2.4, 1.04}};
  const auto rounds_up = [](int a, int b) { return (a + b - 1) / b; };
  const double pairs = static_cast<double>(args.batch) * args.heads;
  Sm90Choice best{1, 1, 1, multiprocessors};
  double least = 1e300;
  for (const Option& x : kOptions) {
    const int tiles = rounds_up(rounds_up(args.keys, x.tile_keys), x.split * x.key_groups);
    const double items = pairs * rounds_up(args.queries, 64 * x.row_groups);
    const double rounds = std::max(1.0, items / (multiprocessors * x.blocks / x.split));
    // A last round that is not full is a round, unless there are many and blocks drift apart.
    const double whole = rounds < 8 ? static_cast<int>(rounds + 0.999) : rounds + 0.3;
    const double time = x.launch + whole * (x.round + tiles * x.tile);
    if (time < least) {
      least = time;
      best = {x.row_groups, x.key_groups, x.split, multiprocessors};
    }
  }
  return best;
}

}  // namespace vistazo::cuda
