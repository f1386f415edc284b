#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "apps/coco_file.h"
#include "apps/json_output.h"
#include "engine/tile_grid.h"
#include "tests/tiling/layout.h"

namespace vistazo::apps {

constexpr int kMosaicCell = 512;  // side of a source image in a mosaic, pixels

// What is special about places of a mosaic.
class MosaicPlaces {
 public:
  // truth: as mosaic.cpp writes it. window, overlap: of the tiled run.
  MosaicPlaces(const Json& truth, int window, float overlap);

  // Whether a box comes near the border of the source image in which its centre lies. What touches that border is
  // annotated as cut there, which it is not in the mosaic.
  bool is_at_border(const CocoBox& box) const;
  // Whether a block of another stain begins within a window's side of a box's centre, which it never does on a slide.
  bool shows_two_stains(const CocoBox& box) const;
  // Whether more than one window shows something of a box.
  bool is_in_several_windows(const CocoBox& box) const;

 private:
  const Colour& colour_at(double x, double y) const;

  std::vector<Colour> colours_;
  int blocks_;
  double side_;  // of a block, pixels
  TileGrid grid_;
};

struct Score {
  std::size_t truths = 0, detections = 0;  // that count
  std::size_t found = 0, duplicates = 0;   // detections that are right; that show what a better one has found

  // 0 of none.
  static double share(std::size_t part, std::size_t all) {
    return all == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(all);
  }
  double recall() const { return share(found, truths); }
  double precision() const { return share(found, detections); }
  double duplicate_share() const { return share(duplicates, detections); }
};

// Detections, the best first, take the free truth of their class that agrees best, from an IoU of 0.5 on. Truths that
// do not count are left out as COCO's evaluation leaves out what it ignores: they are taken only where none that counts
// is free, and a detection that takes one counts neither as right nor as wrong; nor does one that takes none at a place
// that does not count. Classes are written as they are in the model, from 0: first_category is the truths' first.
Score score_detections(const std::vector<CocoTruth>& truths, std::vector<CocoDetection> detections,
                       const std::function<bool(const CocoBox&)>& counts, std::int64_t first_category);

}  // namespace vistazo::apps
