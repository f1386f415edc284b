// In place of tiff.cpp where libtiff is missing.
#include "apps/scans/scan.h"

namespace vistazo::apps {

Scan open_tiff(const std::filesystem::path&, double) {
  return {};
}

}  // namespace vistazo::apps
