#include "engine/seam_merger.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace vistazo {
namespace {

Box intersection(const Box& a, const Box& b) {
  return {std::max(a.x0, b.x0), std::max(a.y0, b.y0), std::min(a.x1, b.x1), std::min(a.y1, b.y1)};
}

float area(const Box& b) {
  return std::max(0.0f, b.x1 - b.x0) * std::max(0.0f, b.y1 - b.y0);
}

Box hull(const Box& a, const Box& b) {
  return {std::min(a.x0, b.x0), std::min(a.y0, b.y0), std::max(a.x1, b.x1), std::max(a.y1, b.y1)};
}

// A box that ends this near to an inner edge of its tile, in units of the tile's side, is taken to be cut by it:
// detectors end the boxes of cut objects a little before the edge.
constexpr float kEdge = 0.01f;

// From this far from its inner edges on, in units of its side, a tile's vote counts whole.
constexpr float kWholeVote = 0.125f;

}  // namespace

// Pieces that belong together, each set with a root (Tarjan 1975, with path halving).
class SeamMerger::Groups {
 public:
  explicit Groups(std::size_t count) : parent_(count) { std::iota(parent_.begin(), parent_.end(), std::size_t{0}); }

  std::size_t root(std::size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(std::size_t a, std::size_t b) {
    const std::size_t i = root(a), j = root(b);
    parent_[std::max(i, j)] = std::min(i, j);
  }

 private:
  std::vector<std::size_t> parent_;
};

SeamMerger::SeamMerger(const TileGrid& grid, const TilingOptions& options, const Detections& large)
    : grid_(grid), options_(options) {
  for (const Detection& d : large) large_.push_back({d.box, d.score, d.class_id, -1, false, true, 0});
}

void SeamMerger::add(int tile, const Detections& detections) {
  last_tile_ = tile;
  const float edge = kEdge * static_cast<float>(grid_.side());
  for (const Detection& d : detections) {
    const float depth = grid_.depth(d.box, tile);
    Piece piece{d.box, d.score, d.class_id, tile, depth < edge, true, depth};
    const int best = grid_.best_tile(d.box);
    if (best != tile && grid_.depth(d.box, best) > depth) piece.is_best_seen = grid_.depth(d.box, best) < edge;
    if (std::ranges::none_of(large_, [&](const Piece& large) { return are_one(large, piece); })) {
      pieces_.push_back(piece);
    }
  }
}

Box SeamMerger::area_of(const Piece& piece) const {
  return piece.tile >= 0 ? grid_.area(piece.tile) : piece.box;
}

bool SeamMerger::are_one(const Piece& a, const Piece& b) const {
  if (a.tile == b.tile || a.class_id != b.class_id) return false;
  const Box both_show = intersection(area_of(a), area_of(b));
  const Box in_a = intersection(a.box, both_show), in_b = intersection(b.box, both_show);
  const float shared = area(intersection(in_a, in_b));
  if (shared <= 0) return false;
  const float whole = options_.measure == TilingOptions::Measure::iou ? area(in_a) + area(in_b) - shared
                                                                      : std::min(area(in_a), area(in_b));
  return shared >= options_.threshold * whole;
}

// Sweeps from left to right over the pieces, comparing each with those that reach its left edge.
SeamMerger::Groups SeamMerger::find_groups() const {
  std::vector<std::size_t> order(pieces_.size()), open;
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return pieces_[i].box.x0; });
  Groups groups(pieces_.size());
  for (const std::size_t i : order) {
    const Piece& piece = pieces_[i];
    std::erase_if(open, [&](std::size_t j) { return pieces_[j].box.x1 <= piece.box.x0; });
    for (const std::size_t j : open) {
      if (are_one(pieces_[j], piece)) groups.join(i, j);
    }
    open.push_back(i);
  }
  return groups;
}

// Whether tiles with half of the say found the object that `best` stands for; none if no tile shows all of it.
// pieces: all that may be of the object.
std::optional<bool> SeamMerger::vote(const std::vector<const Piece*>& pieces, const Piece& best,
                                     const Box& object) const {
  const float whole_vote = kWholeVote * static_cast<float>(grid_.side());
  float all = 0, found = 0;
  for (const int tile : grid_.tiles_showing(object)) {
    const float say = std::clamp(grid_.depth(object, tile) / whole_vote, 0.0f, 1.0f);
    all += say;
    const bool has_found = std::ranges::any_of(
        pieces, [&](const Piece* p) { return p->tile == tile && (p == &best || are_one(best, *p)); });
    if (has_found) found += say;
  }
  if (all <= 0) return {};
  return 2 * found >= all;
}

// Greedy, the best first: among whole pieces those that see most around them, among cut ones the best score.
void SeamMerger::resolve(const std::vector<std::size_t>& members, Detections& objects) const {
  std::vector<const Piece*> ranked;
  for (const std::size_t i : members) ranked.push_back(&pieces_[i]);
  std::ranges::sort(ranked, [](const Piece* a, const Piece* b) {
    const auto rank = [](const Piece* p) {
      return std::tuple(p->is_cut, p->is_cut ? 0.0f : -p->depth, -p->score, p->tile, p->box.y0, p->box.x0);
    };
    return rank(a) < rank(b);
  });
  std::vector<bool> is_taken(ranked.size(), false);
  for (std::size_t i = 0; i < ranked.size(); ++i) {
    if (is_taken[i]) continue;
    Detection object{ranked[i]->box, ranked[i]->score, ranked[i]->class_id};
    const bool is_joining = ranked[i]->is_cut && options_.merge == TilingOptions::Merge::nmm;
    bool is_confirmed = false;
    std::vector<std::size_t> group = {i};
    for (std::size_t g = 0; g < group.size(); ++g) {
      for (std::size_t j = i + 1; j < ranked.size(); ++j) {
        if (is_taken[j] || !are_one(*ranked[group[g]], *ranked[j])) continue;
        is_taken[j] = is_confirmed = true;
        if (!is_joining) continue;
        object.box = hull(object.box, ranked[j]->box);
        group.push_back(j);  // its other neighbours hold parts of the same object
      }
    }
    std::optional<bool> is_elected;
    if (options_.vote) is_elected = vote(ranked, *ranked[i], object.box);
    if (is_elected.value_or(is_confirmed || ranked[i]->is_best_seen)) objects.push_back(object);
  }
}

Detections SeamMerger::take_finished() {
  const bool is_end = last_tile_ + 1 >= grid_.count();
  const auto next_top = static_cast<float>(grid_.next_row_top(std::max(last_tile_, 0)));
  Groups groups = find_groups();
  std::vector<bool> is_open(pieces_.size(), false);  // by root
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    if (!is_end && pieces_[i].box.y1 > next_top) is_open[groups.root(i)] = true;
  }
  std::vector<std::vector<std::size_t>> finished(pieces_.size());  // members by root
  std::vector<Piece> kept;
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    const std::size_t root = groups.root(i);
    if (is_open[root]) {
      kept.push_back(pieces_[i]);
    } else {
      finished[root].push_back(i);
    }
  }
  Detections objects;
  for (const auto& members : finished) {
    if (!members.empty()) resolve(members, objects);
  }
  pieces_ = std::move(kept);
  std::ranges::sort(objects, {}, [](const Detection& d) {
    return std::tuple(d.box.y0, d.box.x0, d.box.y1, d.box.x1, d.class_id, -d.score);
  });
  return objects;
}

}  // namespace vistazo
