#include "apps/video/video_reader.h"

#include <vistazo/error.h>

#include <utility>

#include "apps/video/annexb_file.h"
#include "apps/video/gpu_reader.h"
#include "apps/video/picture_memory.h"
#ifdef VISTAZO_HAS_LIBAV
#include "apps/video/libav_packets.h"
#include "apps/video/libav_reader.h"
#endif

namespace vistazo::apps {
namespace {

// One attempt to open a source. An input that NVDEC turned down unread goes to the CPU as it is: some sources can be
// opened but once.
class Opening {
 public:
  Opening(const std::string& source, const VideoReaderOptions& options, const std::atomic<bool>& stopped)
      : source_(source), options_(options), stopped_(stopped) {}

  std::unique_ptr<VideoReader> on_gpu() {
    auto reader = std::make_unique<GpuReader>(packets(), options_, stopped_);
    forget_input();
    reader->start();
    return reader;
  }

#ifdef VISTAZO_HAS_LIBAV
  std::unique_ptr<VideoReader> on_cpu() {
    return make_libav_reader(input(), options_.decoder_threads, stopped_);
  }

 private:
  std::unique_ptr<PacketSource> packets() {
    if (AnnexbFile::is_named(source_)) return std::make_unique<AnnexbFile>(source_);
    return make_libav_packets(input());
  }
  std::shared_ptr<LibavInput> input() {
    if (!input_) input_ = std::make_shared<LibavInput>(source_, options_.deadline, stopped_);
    return input_;
  }
  void forget_input() {
    input_.reset();
  }

  std::shared_ptr<LibavInput> input_;
#else
  std::unique_ptr<VideoReader> on_cpu() {
    throw Error(Error::Code::unsupported,
                "this build was configured without FFmpeg's libraries: it reads .h264 and .hevc files, on a GPU "
                "(--device cuda)");
  }

 private:
  std::unique_ptr<PacketSource> packets() {
    if (!AnnexbFile::is_named(source_)) on_cpu();
    return std::make_unique<AnnexbFile>(source_);
  }
  void forget_input() {}
#endif

  const std::string& source_;
  const VideoReaderOptions& options_;
  const std::atomic<bool>& stopped_;
};

}  // namespace

void VideoFrame::fetch_picture() {
  if (!gpu.pixels || picture.pixels) return;
  thread_local const PictureMemory memory;
  picture = memory.make(gpu.width, gpu.height);
  download(gpu, picture.pixels.get(), picture.row_bytes);
}

std::unique_ptr<VideoReader> open_video(const std::string& source, const VideoReaderOptions& options,
                                        const std::atomic<bool>& stopped,
                                        const std::function<void(const std::string&)>& note) {
  Opening opening(source, options, stopped);
  if (options.decoder == DecoderChoice::cpu) return opening.on_cpu();
  try {
    return opening.on_gpu();
  } catch (const Error& e) {
    const bool is_of_nvdec = e.code == Error::Code::unsupported || e.code == Error::Code::device;
    if (options.decoder == DecoderChoice::nvdec || !is_of_nvdec) throw;
    if (note) note(e.what());
  }
  return opening.on_cpu();
}

}  // namespace vistazo::apps
