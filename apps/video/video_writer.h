#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "apps/image_io.h"
#include "apps/video/video_reader.h"

namespace vistazo::apps {

struct VideoWriterOptions {
  int quality = 23;         // constant rate factor of H.264, 0 (lossless) to 51
  int encoder_threads = 0;  // 0: as many as FFmpeg thinks right
};

// Writes H.264 (MPEG-4 part 2 in a build of FFmpeg without an encoder for it) into .mp4, .mov or .mkv. The file is cut
// into fragments of about a second, each with its own index: what was written plays even if the program is killed. For
// one thread.
class VideoWriter {
 public:
  // The format's size, ticks and average rate are those of the frames to come. Throws Error{file} naming the path,
  // Error{unsupported} for another extension or a size that cannot be encoded.
  VideoWriter(const std::filesystem::path& path, const VideoFormat& format, const VideoWriterOptions& options = {});
  ~VideoWriter();  // closes the file; what goes wrong then is not told
  VideoWriter(const VideoWriter&) = delete;
  VideoWriter& operator=(const VideoWriter&) = delete;

  // ticks: when the frame is shown, in ticks of the format; later than the last one's (else it is moved one tick on).
  void write(const Picture& picture, std::int64_t ticks);
  // Writes what the encoder still holds, and the index. Throws Error{file}.
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vistazo::apps
