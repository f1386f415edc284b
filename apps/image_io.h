#pragma once

#include <vistazo/image.h>

#include <cstdint>
#include <filesystem>
#include <memory>

namespace vistazo::apps {

// A decoded image that owns its pixels: 8 bits a channel, blue first, upright.
struct Picture {
  std::shared_ptr<std::uint8_t> pixels;
  int width = 0;
  int height = 0;
  std::ptrdiff_t row_bytes = 0;
  bool is_lossless = false;  // how the file was stored

  Image view() const { return {pixels.get(), width, height, row_bytes, PixelFormat::bgr8}; }
  std::size_t bytes() const { return static_cast<std::size_t>(row_bytes) * static_cast<std::size_t>(height); }
};

// Throws Error{unsupported} in a build that cannot read images at all.
void require_image_reader();

// Reads JPEG, PNG, TIFF, WebP or BMP; a build without OpenCV reads PPM. Exif orientation is applied, 16 bits are scaled
// to 8, alpha is dropped. Throws Error{file} for what is missing, no image, truncated, damaged or too large; its
// message leaves out the path.
Picture read_picture(const std::filesystem::path& path);

// Writes PNG or JPEG, as the extension says, whole or not at all. Throws Error{file}.
void write_picture(const std::filesystem::path& path, const Picture& picture);

}  // namespace vistazo::apps
