#pragma once

#include <vistazo/tiling.h>

#include <optional>
#include <vector>

#include "engine/tile_grid.h"

namespace vistazo {

// Makes one list of objects of what overlapping tiles found, a row of tiles at a time.
//
// Detections of one tile are never compared: the detector has told them apart. Detections of two tiles are the same
// object if they agree within the area that both tiles show. Such a group becomes
//   - its detection that keeps farthest from its tile's inner edges, if one of them does not touch an inner edge,
//   - else, merged, the box around all its parts (or the best of them, with Merge::nms), with the best score.
// Tiles crop what a detector was trained on whole, and every look at a place adds false alarms of its own. So the tiles
// that show all of an object vote on it (TilingOptions::vote): a tile's say grows from its edge, where it is none, to
// an eighth of its side from there, where it is whole; an object that tiles with less than half of all say have found
// is dropped. Scores have no part in it: each is above the detector's threshold. Without a vote, and for what no tile
// shows whole, a detection that no other tile confirms stays only if no other tile shows more around it: what a tile
// sees cut off or at its rim is told better by its neighbour.
class SeamMerger {
 public:
  // large: objects found in the whole image at once. They hide their parts that tiles find.
  SeamMerger(const TileGrid& grid, const TilingOptions& options, const Detections& large = {});

  // All tiles in order; boxes in pixels of the image.
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

  Box area_of(const Piece& piece) const;
  bool are_one(const Piece& a, const Piece& b) const;
  Groups find_groups() const;
  void resolve(const std::vector<std::size_t>& members, Detections& objects) const;
  std::optional<bool> vote(const std::vector<const Piece*>& pieces, const Piece& best, const Box& object) const;

  const TileGrid& grid_;
  TilingOptions options_;
  std::vector<Piece> large_;
  std::vector<Piece> pieces_;  // not finished
  int last_tile_ = -1;
};

}  // namespace vistazo
