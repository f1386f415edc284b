// Stands in for image_io.cpp, annotate.cpp and density.cpp in a build without OpenCV: reads PPM, and writes no
// pictures.
#include <fmt/core.h>
#include <vistazo/error.h>

#include <cctype>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "apps/annotate.h"
#include "apps/density.h"
#include "apps/image_io.h"

namespace vistazo::apps {
namespace {

[[noreturn]] void fail_without_opencv(Error::Code code, const std::string& what) {
  throw Error(code,
              fmt::format("{}: this build was configured without OpenCV (VISTAZO_OPENCV) and reads PPM only", what));
}

// The next number of a PPM's header, behind white space and comments; -1 where there is none.
int read_number(std::istream& file) {
  while (file.peek() == '#' || std::isspace(file.peek())) {
    if (file.get() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  int number = -1;
  return file >> number ? number : -1;
}

}  // namespace

void require_image_reader() {}

Picture read_picture(const std::filesystem::path& path) {
  constexpr int kMaxSide = 1 << 15;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(Error::Code::file, "cannot be opened");
  char magic[2] = {};
  file.read(magic, 2);
  if (magic[0] != 'P' || magic[1] != '6') fail_without_opencv(Error::Code::file, "is no PPM");
  const int width = read_number(file), height = read_number(file), largest = read_number(file);
  if (width < 1 || height < 1 || width > kMaxSide || height > kMaxSide || largest != 255) {
    throw Error(Error::Code::file, fmt::format("a PPM of {} x {} with values to {}; 8 bits and sides to {} are wanted",
                                               width, height, largest, kMaxSide));
  }
  file.get();  // one white space
  const auto row = static_cast<std::ptrdiff_t>(3) * width;
  Picture picture{std::shared_ptr<std::uint8_t>(new std::uint8_t[static_cast<std::size_t>(row * height)],
                                                std::default_delete<std::uint8_t[]>()),
                  width, height, row, true};
  file.read(reinterpret_cast<char*>(picture.pixels.get()), row * height);
  if (file.gcount() != row * height) throw Error(Error::Code::file, "is truncated");
  for (std::ptrdiff_t i = 0; i < row * height; i += 3) std::swap(picture.pixels.get()[i], picture.pixels.get()[i + 2]);
  return picture;
}

void write_picture(const std::filesystem::path&, const Picture&) {
  fail_without_opencv(Error::Code::unsupported, "a picture cannot be written");
}
Picture draw_detections(const Picture&, const Detections&, std::span<const std::string>,
                        std::span<const std::int64_t>) {
  fail_without_opencv(Error::Code::unsupported, "a picture cannot be drawn on");
}
void draw_onto(Picture&, const Detections&, std::span<const std::string>, std::span<const std::int64_t>) {
  fail_without_opencv(Error::Code::unsupported, "a picture cannot be drawn on");
}
Picture draw_density(Scan&, const DensityMap&) {
  fail_without_opencv(Error::Code::unsupported, "a picture of densities cannot be drawn");
}

}  // namespace vistazo::apps
