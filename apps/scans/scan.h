#pragma once

#include <vistazo/tiling.h>

#include <filesystem>
#include <memory>
#include <string>

namespace vistazo::apps {

// A scan opened for reading: one level of its pyramid, and how that lies on the full resolution.
struct Scan {
  std::unique_ptr<RegionReader> reader;
  double scale_x = 1, scale_y = 1;  // full-resolution pixels for one of the reader's
  int left = 0, top = 0;            // full-resolution pixels: where the reader's image begins
  int width = 0, height = 0;        // of the full resolution
  std::string format;               // "aperio", "hamamatsu", "TIFF", "picture"

  // From the reader's pixels to those of the full resolution.
  Detection to_full(Detection detection) const;
};

// Opens slides by OpenSlide, pyramids without a vendor and other TIFFs by libtiff, and other pictures whole. Of a
// pyramid it takes the smallest level that has at least `scale` of the full resolution. Throws Error{file}; its message
// leaves out the path.
Scan open_scan(const std::filesystem::path& path, double scale);

// The parts of open_scan(): no reader where the file is not of that kind, or the build has no such library.
Scan open_slide(const std::filesystem::path& path, double scale);
Scan open_tiff(const std::filesystem::path& path, double scale);

}  // namespace vistazo::apps
