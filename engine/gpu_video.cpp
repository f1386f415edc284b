#include <vistazo/gpu_video.h>

#include <cstring>
#include <utility>

#include "engine/gpu_video_impl.h"
#include "kernels/base/error.h"
#ifdef VISTAZO_HAS_CUDA
#include "kernels/base/check_cuda.h"
#ifdef VISTAZO_HAS_NVDEC
#include "engine/nvdec/decoder.h"
#endif
#endif

namespace vistazo {
namespace {

std::unique_ptr<GpuVideoDecoder::Impl> make_decoder([[maybe_unused]] VideoCodec codec, [[maybe_unused]] int gpu,
                                                    [[maybe_unused]] bool keeps_up) {
#if !defined(VISTAZO_HAS_CUDA)
  fail(Error::Code::unsupported, "NVDEC: this build of vistazo has no CUDA");
#elif !defined(VISTAZO_HAS_NVDEC)
  fail(Error::Code::unsupported,
       "NVDEC: this build of vistazo was configured without NVIDIA's headers (Debian: libffmpeg-nvenc-dev)");
#else
  return make_nvdec(codec, keeps_up, make_cuda_surfaces(gpu));
#endif
}

}  // namespace

GpuVideoDecoder::GpuVideoDecoder(VideoCodec codec, int gpu, bool keeps_up)
    : impl_(make_decoder(codec, gpu, keeps_up)) {}
GpuVideoDecoder::GpuVideoDecoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GpuVideoDecoder::~GpuVideoDecoder() = default;
GpuVideoDecoder::GpuVideoDecoder(GpuVideoDecoder&&) noexcept = default;
GpuVideoDecoder& GpuVideoDecoder::operator=(GpuVideoDecoder&&) noexcept = default;

void GpuVideoDecoder::decode(std::span<const std::uint8_t> packet, std::int64_t timestamp) {
  impl_->decode(packet, timestamp);
}

void GpuVideoDecoder::flush() {
  impl_->flush();
}

bool GpuVideoDecoder::next(GpuFrame& frame) {
  return impl_->next(frame);
}

std::int64_t GpuVideoDecoder::broken_frames() const {
  return impl_->broken_frames();
}

GpuVideoDecoder::Rate GpuVideoDecoder::rate() const {
  return impl_->rate();
}

void download(const GpuFrame& frame, std::uint8_t* to, std::ptrdiff_t row_bytes) {
  const auto columns = 3 * static_cast<std::size_t>(frame.width);
  if (!frame.is_on_device) {
    for (int row = 0; row < frame.height; ++row) {
      std::memcpy(to + row * row_bytes, frame.pixels.get() + row * frame.row_bytes, columns);
    }
    return;
  }
#ifdef VISTAZO_HAS_CUDA
  check_cuda(cudaMemcpy2D(to, static_cast<std::size_t>(row_bytes), frame.pixels.get(),
                          static_cast<std::size_t>(frame.row_bytes), columns, static_cast<std::size_t>(frame.height),
                          cudaMemcpyDefault),  // any GPU's memory
             "cudaMemcpy2D");
#else
  fail(Error::Code::unsupported, "download: this build of vistazo has no CUDA");
#endif
}

}  // namespace vistazo
