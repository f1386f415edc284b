// Stands in for video_writer.cpp in a build without FFmpeg's libraries.
#include <vistazo/error.h>

#include "apps/video/video_writer.h"

namespace vistazo::apps {

struct VideoWriter::Impl {};

VideoWriter::VideoWriter(const std::filesystem::path&, const VideoFormat&, const VideoWriterOptions&) {
  throw Error(Error::Code::unsupported, "--save: this build was configured without FFmpeg's libraries");
}
VideoWriter::~VideoWriter() = default;
void VideoWriter::write(const Picture&, std::int64_t) {}
void VideoWriter::close() {}

}  // namespace vistazo::apps
