#pragma once

#include <vistazo/tiling.h>

#include <map>
#include <optional>
#include <vector>

#include "engine/tile_grid.h"

namespace vistazo {

// Makes one list of objects of what overlapping tiles found, a row of tiles at a time.
//
// Detections of one tile are never compared: the detector has told them apart. Detections of two tiles are the same
// object if they agree within the area that both tiles show. The best first, those that touch no inner edge of their
// tile before those that do, each takes what agrees with it and is not taken yet; what is taken is no evidence for
// another object. The object's box is
//   - with Merge::nms, the one that keeps farthest from its tile's inner edges; merged, the mean of the boxes of all
//     tiles that show that box whole (boxes are averaged as in weighted boxes fusion, Solovyev et al. 2021);
//   - of parts only: with Merge::nms the best one's; merged, the box around all of them.
//
// Tiles crop what a detector was trained on whole, and every look at a place adds false alarms of its own. So all tiles
// that show something of an object vote on it (TilingOptions::vote). A tile's say is the share of the object that it
// shows, times a weight that grows from a quarter, for what reaches its edge, to one, for what keeps an eighth of its
// side from there. An object's score is the mean by say, and has to reach the threshold of its class; a tile that told
// nothing of the object gave it less than the threshold, and counts with the middle of that, half the threshold. Of the
// tiles that show all of it, moreover, those with half of the weight beyond that at the edge must have found it: what a
// tile is sure of at its rim, and its neighbour does not see in its middle, is a false alarm more often than not.
// Without a vote, and for what no tile shows whole, the score is the best one's, and a detection that no other tile
// confirms stays only if no other tile shows more around it: what a tile sees cut off or at its rim is told better by
// its neighbour.
class SeamMerger {
 public:
  // min_scores: the detector's threshold of each class. large: objects found in the whole image at once; they hide
  // their parts that tiles find.
  SeamMerger(const TileGrid& grid, const TilingOptions& options, std::vector<float> min_scores,
             const Detections& large = {});

  // All tiles in order; boxes in pixels of the image. Throws Error{argument} for a class that has no threshold.
  void add(int tile, const Detections& detections);
  // The objects that tiles not yet added cannot change: call it behind each row of tiles. From the top down.
  Detections take_finished();

 private:
  struct Piece {
    Box box;
    float score;
    int class_id;
    int tile;           // -1: the whole image
    bool is_cut;        // touches an inner edge of its tile
    bool is_best_seen;  // no tile shows more around it
    float depth;
  };
  class Groups;
  using Views = std::map<int, const Piece*>;  // by tile: its best piece of an object

  Box area_of(const Piece& piece) const;
  bool are_one(const Piece& a, const Piece& b) const;
  Groups find_groups() const;
  void resolve(const std::vector<std::size_t>& members, Detections& objects) const;
  static const Piece& widest(const Views& views, const Piece& best);
  Box mean_box(const Views& views, const Box& box) const;
  double inside(const Box& box, int tile) const;
  std::optional<double> vote(const Views& views, const Detection& object) const;
  bool stands(const Views& views, const Piece& best, Detection& object) const;

  const TileGrid& grid_;
  TilingOptions options_;
  std::vector<float> min_scores_;
  std::vector<Piece> large_;
  std::vector<Piece> pieces_;  // not finished
  int last_tile_ = -1;
};

}  // namespace vistazo
