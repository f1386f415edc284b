#pragma once

#include <cstdint>
#include <span>

namespace vistazo::apps {

enum class ImageKind { unknown, jpeg, png, tiff, webp, bmp };

// What the first bytes of an image file tell, read without decoding it.
struct ImageHeader {
  ImageKind kind = ImageKind::unknown;
  std::int64_t width = 0, height = 0;  // as stored; 0 where not looked for
  int bytes_per_channel = 1;
  bool is_lossless = false;
  bool is_complete = true;  // false: a JPEG without its end marker, which decoders fill up with grey
  int orientation = 1;      // Exif's, of WebP only: OpenCV turns the other formats by itself
};

// Any bytes are accepted; what cannot be understood keeps its default.
ImageHeader read_image_header(std::span<const std::uint8_t> file);

// Declares the alpha of a TIFF as premultiplied, in memory. libtiff multiplies the colours by an alpha that is not,
// which a detector does not want: it looks at the colours as they are stored.
void keep_tiff_colours(std::span<std::uint8_t> file);

}  // namespace vistazo::apps
