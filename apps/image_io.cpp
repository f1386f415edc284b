#include "apps/image_io.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <mutex>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <vector>

#include "apps/image_header.h"
#include "apps/memory.h"
#include "apps/output_file.h"

namespace vistazo::apps {
namespace {

// OpenCV prints its complaints besides reporting them; here they appear once, in the list of failures. Its thread pool
// would only compete with the detector.
void quieten_opencv() {
  static std::once_flag once;
  std::call_once(once, [] {
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
    std::cerr.setstate(std::ios::failbit);
    cv::setNumThreads(1);
  });
}

std::vector<std::uint8_t> read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw Error(Error::Code::file, fmt::format("cannot be opened: {}", std::strerror(errno)));
  std::error_code no_size;
  const auto size = std::filesystem::file_size(path, no_size);
  if (no_size) throw Error(Error::Code::file, "is not a file");
  std::vector<std::uint8_t> bytes(size);
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (static_cast<std::uintmax_t>(stream.gcount()) != size) throw Error(Error::Code::file, "cannot be read to its end");
  return bytes;
}

ImageHeader check_header(const std::vector<std::uint8_t>& file) {
  if (file.empty()) throw Error(Error::Code::file, "the file is empty");
  const ImageHeader header = read_image_header(file);
  if (header.kind == ImageKind::unknown) {
    throw Error(Error::Code::file, "is not an image that vistazo reads (JPEG, PNG, TIFF, WebP, BMP)");
  }
  if (!header.is_complete) throw Error(Error::Code::file, "the JPEG is truncated: it has no end marker");
  // Decoding allocates the whole picture at once; without this check a small file could make the system kill us.
  const double bytes = 3.0 * static_cast<double>(header.width) * static_cast<double>(header.height) *
                       (header.bytes_per_channel == 1 ? 1 : 3);  // 16 bits and their 8-bit copy
  if (bytes > 0.8 * available_memory_bytes()) {
    throw Error(Error::Code::file,
                fmt::format("the picture of {} x {} pixels does not fit into memory", header.width, header.height));
  }
  return header;
}

cv::Mat decode(const std::vector<std::uint8_t>& file) {
  cv::Mat image;
  try {
    image = cv::imdecode(file, cv::IMREAD_COLOR | cv::IMREAD_ANYDEPTH);
  } catch (const cv::Exception& e) {
    const bool is_too_large = e.err.find("CV_IO_MAX_IMAGE") != std::string::npos || e.code == cv::Error::StsNoMem;
    throw Error(Error::Code::file,
                is_too_large ? "the picture is too large (the limit is 2^30 pixels, 2^20 a side)" : e.err);
  }
  if (image.empty())
    throw Error(Error::Code::file, "the image is damaged, truncated or of a kind that is not supported");
  if (image.depth() == CV_16U) image.convertTo(image, CV_8U, 1.0 / 257.0);  // 65535 / 257 = 255; rounds
  if (image.type() != CV_8UC3) throw Error(Error::Code::file, "the pixels are not of 8 or 16 bits a channel");
  return image;
}

// Exif 2.3, tag 0x0112: 2, 4, 5 and 7 are mirrored; 5 to 8 are lying on a side.
cv::Mat upright(const cv::Mat& stored, int orientation) {
  cv::Mat image = stored;
  if (orientation >= 5 && orientation <= 8) cv::transpose(stored, image);
  if (orientation == 2 || orientation == 6) cv::flip(image, image, 1);
  if (orientation == 3 || orientation == 7) cv::flip(image, image, -1);
  if (orientation == 4 || orientation == 8) cv::flip(image, image, 0);
  return image;
}

}  // namespace

void require_image_reader() {
  quieten_opencv();
}

Picture read_picture(const std::filesystem::path& path) {
  quieten_opencv();
  try {
    std::vector<std::uint8_t> file = read_file(path);
    const ImageHeader header = check_header(file);
    if (header.kind == ImageKind::tiff) keep_tiff_colours(file);
    const auto image = std::make_shared<cv::Mat>(upright(decode(file), header.orientation));
    return {std::shared_ptr<std::uint8_t>(image, image->data), image->cols, image->rows,
            static_cast<std::ptrdiff_t>(image->step), header.is_lossless};
  } catch (const std::bad_alloc&) {
    throw Error(Error::Code::file, "the picture does not fit into memory");
  }
}

void write_picture(const std::filesystem::path& path, const Picture& picture) {
  quieten_opencv();
  const cv::Mat image(picture.height, picture.width, CV_8UC3, picture.pixels.get(),
                      static_cast<std::size_t>(picture.row_bytes));
  std::vector<std::uint8_t> file;
  try {
    if (!cv::imencode(path.extension().string(), image, file, {cv::IMWRITE_JPEG_QUALITY, 92})) {
      throw Error(Error::Code::file, fmt::format("{}: the picture cannot be encoded", path.string()));
    }
  } catch (const cv::Exception& e) {
    throw Error(Error::Code::file, fmt::format("{}: {}", path.string(), e.err));
  }
  OutputFile output(path);
  output.write({reinterpret_cast<const char*>(file.data()), file.size()});
  output.commit();
}

}  // namespace vistazo::apps
