// In place of slide.cpp where OpenSlide is missing.
#include "apps/scans/scan.h"

namespace vistazo::apps {

Scan open_slide(const std::filesystem::path&, double) {
  return {};
}

}  // namespace vistazo::apps
