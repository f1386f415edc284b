#include "engine/seam_merger.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "kernels/base/error.h"

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

// From this far from its inner edges on, in units of its side, a tile's vote counts whole; at the edge this much of it.
constexpr float kWholeVote = 0.125f;
constexpr double kVoteAtEdge = 0.25;

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

SeamMerger::SeamMerger(const TileGrid& grid, const TilingOptions& options, std::vector<float> min_scores,
                       const Detections& large)
    : grid_(grid), options_(options), min_scores_(std::move(min_scores)) {
  for (const Detection& d : large) large_.push_back({d.box, d.score, d.class_id, -1, false, true, 0});
}

void SeamMerger::add(int tile, const Detections& detections) {
  last_tile_ = tile;
  const float edge = kEdge * static_cast<float>(grid_.side());
  for (const Detection& d : detections) {
    const auto classes = static_cast<int>(min_scores_.size());
    if (d.class_id < 0 || d.class_id >= classes) {
      fail(Error::Code::argument, "window {}: a detection of class {}; the model has the classes 0 to {}", tile,
           d.class_id, classes - 1);
    }
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

// How far inside of a tile a box lies: 0 from its edge on outwards, 1 from an eighth of its side on.
double SeamMerger::inside(const Box& box, int tile) const {
  return static_cast<double>(
      std::clamp(grid_.depth(box, tile) / (kWholeVote * static_cast<float>(grid_.side())), 0.0f, 1.0f));
}

// The mean score by the say of all tiles that show something of the object; -1 where most of those that show all of it
// have not found it; none if no tile shows all of it.
std::optional<double> SeamMerger::vote(const Views& views, const Detection& object) const {
  const auto threshold = static_cast<double>(min_scores_[static_cast<std::size_t>(object.class_id)]);
  const auto size = static_cast<double>(area(object.box));
  double above = 0, says = 0, found = 0, whole = 0;
  for (const int tile : grid_.tiles_touching(object.box)) {
    const auto shown = size > 0 ? static_cast<double>(area(intersection(object.box, grid_.area(tile)))) / size : 1.0;
    const double in_tile = inside(object.box, tile), say = shown * (kVoteAtEdge + (1 - kVoteAtEdge) * in_tile);
    const auto view = views.find(tile);
    says += say;
    whole += in_tile;
    if (view == views.end()) {
      above -= say * threshold / 2;
    } else {
      // Scores may be rounded to just below the threshold, which they have reached.
      above += say * std::max(0.0, double{view->second->score} - threshold);
      found += in_tile;
    }
  }
  if (whole <= 0) return {};
  if (2 * found < whole) return -1.0;
  return threshold + above / says;
}

// Whether the object is told; gives it its score.
bool SeamMerger::stands(const Views& views, const Piece& best, Detection& object) const {
  if (options_.vote) {
    if (const std::optional<double> score = vote(views, object)) {
      object.score = static_cast<float>(*score);
      return object.score >= min_scores_[static_cast<std::size_t>(object.class_id)];
    }
  }
  return views.size() > 1 || best.is_best_seen;
}

// Of the views that touch no inner edge of their tiles, the one that shows most around the object.
const SeamMerger::Piece& SeamMerger::widest(const Views& views, const Piece& best) {
  const Piece* result = &best;
  for (const auto& entry : views) {
    if (!entry.second->is_cut && entry.second->depth > result->depth) result = entry.second;
  }
  return *result;
}

// The mean of the boxes of those tiles that show all of a box, as far as `box` is one of theirs.
Box SeamMerger::mean_box(const Views& views, const Box& box) const {
  const float edge = kEdge * static_cast<float>(grid_.side());
  double sum[4] = {}, count = 0;
  for (const auto& [tile, piece] : views) {
    if (piece->is_cut || grid_.depth(box, tile) < edge) continue;
    const float sides[4] = {piece->box.x0, piece->box.y0, piece->box.x1, piece->box.y1};
    for (int i = 0; i < 4; ++i) sum[i] += static_cast<double>(sides[i]);
    ++count;
  }
  const auto mean = [&](int i) { return static_cast<float>(sum[i] / count); };
  return {mean(0), mean(1), mean(2), mean(3)};
}

// Greedy, the best first.
void SeamMerger::resolve(const std::vector<std::size_t>& members, Detections& objects) const {
  std::vector<const Piece*> ranked;
  for (const std::size_t i : members) ranked.push_back(&pieces_[i]);
  std::ranges::sort(ranked, [](const Piece* a, const Piece* b) {
    const auto rank = [](const Piece* p) {
      return std::tuple(p->is_cut, -p->score, -p->depth, p->tile, p->box.y0, p->box.x0);
    };
    return rank(a) < rank(b);
  });
  std::vector<bool> is_taken(ranked.size(), false);
  for (std::size_t i = 0; i < ranked.size(); ++i) {
    if (is_taken[i]) continue;
    const Piece& best = *ranked[i];
    Detection object{best.box, best.score, best.class_id};
    const bool is_merging = options_.merge == TilingOptions::Merge::nmm;
    Views views = {{best.tile, &best}};
    std::vector<std::size_t> group = {i};
    for (std::size_t g = 0; g < group.size(); ++g) {
      for (std::size_t j = i + 1; j < ranked.size(); ++j) {
        if (is_taken[j] || !are_one(*ranked[group[g]], *ranked[j])) continue;
        is_taken[j] = true;
        views.try_emplace(ranked[j]->tile, ranked[j]);  // a tile's first is its best
        if (!best.is_cut || !is_merging) continue;
        object.box = hull(object.box, ranked[j]->box);
        group.push_back(j);  // its other neighbours hold parts of the same object
      }
    }
    if (!best.is_cut) object.box = widest(views, best).box;
    if (!stands(views, best, object)) continue;
    if (!best.is_cut && is_merging) object.box = mean_box(views, object.box);
    objects.push_back(object);
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
