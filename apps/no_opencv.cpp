// Stands in for image_io.cpp, annotate.cpp and density.cpp in a build without OpenCV.
#include <vistazo/error.h>

#include "apps/annotate.h"
#include "apps/density.h"
#include "apps/image_io.h"

namespace vistazo::apps {
namespace {

[[noreturn]] void fail_without_opencv() {
  throw Error(Error::Code::unsupported,
              "this build has no image reader: it was configured without OpenCV (VISTAZO_OPENCV)");
}

}  // namespace

void require_image_reader() {
  fail_without_opencv();
}
Picture read_picture(const std::filesystem::path&) {
  fail_without_opencv();
}
void write_picture(const std::filesystem::path&, const Picture&) {
  fail_without_opencv();
}
Picture draw_detections(const Picture&, const Detections&, std::span<const std::string>,
                        std::span<const std::int64_t>) {
  fail_without_opencv();
}
Picture draw_density(Scan&, const DensityMap&) {
  fail_without_opencv();
}

}  // namespace vistazo::apps
