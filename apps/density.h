#pragma once

#include <vistazo/tiling.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "apps/image_io.h"
#include "apps/scans/scan.h"

namespace vistazo::apps {

// How many objects lie where on a scan, counted as they come.
class DensityMap {
 public:
  DensityMap(int width, int height);  // of the scan, full-resolution pixels

  void add(const Detection& object);
  std::int64_t objects() const { return objects_; }
  int columns() const { return columns_; }
  int rows() const { return rows_; }
  int cell() const { return cell_; }                                 // side, full-resolution pixels
  std::span<const std::uint32_t> counts() const { return counts_; }  // (rows, columns)

 private:
  int cell_, columns_, rows_;
  std::int64_t objects_ = 0;
  std::vector<std::uint32_t> counts_;
};

constexpr int kOverviewSide = 2048;  // pixels, at most

// The scan, shrunk to kOverviewSide, under the density of its objects, with a scale of colours; quickest from a level
// of about that size. Throws Error{unsupported} in a build without OpenCV.
Picture draw_density(Scan& scan, const DensityMap& density);

}  // namespace vistazo::apps
