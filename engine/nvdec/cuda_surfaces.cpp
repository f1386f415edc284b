#include <mutex>
#include <utility>
#include <vector>

#include "engine/cuda_device.h"
#include "engine/nvdec/surfaces.h"
#include "engine/yuv_args.h"
#include "kernels/base/device_buffer.h"

namespace vistazo {
namespace {

// Memory of frames that nobody holds any more. Outlives the decoder where a frame does.
class FrameMemory {
 public:
  DeviceBuffer take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    while (!free_.empty()) {
      DeviceBuffer buffer = std::move(free_.back());
      free_.pop_back();
      if (buffer.size() == bytes) return buffer;  // else of another size of frame: given back
    }
    return DeviceBuffer(bytes);
  }
  void give_back(DeviceBuffer buffer) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(buffer));
  }

 private:
  std::mutex mutex_;
  std::vector<DeviceBuffer> free_;
};

class CudaSurfaces final : public Surfaces {
 public:
  explicit CudaSurfaces(int gpu) : gpu_(gpu) {
    require_gpu(gpu);
    const Turn turn(*this);
    stream_ = make_stream();
  }

  CudaStream stream() override { return stream_.get(); }

  GpuFrame convert(const YuvImage& surface) override {
    constexpr std::ptrdiff_t kRowAlignment = 128;  // a cache line
    const std::ptrdiff_t row_bytes =
        (std::ptrdiff_t{3} * surface.width + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
    const auto bytes = static_cast<std::size_t>(row_bytes) * static_cast<std::size_t>(surface.height);
    const auto buffer = std::make_shared<DeviceBuffer>(memory_->take(bytes));
    auto* pixels = reinterpret_cast<std::uint8_t*>(buffer->data());
    const std::shared_ptr<const std::uint8_t> frame(
        pixels, [buffer, memory = memory_](const std::uint8_t*) { memory->give_back(std::move(*buffer)); });
    cuda::yuv_to_bgr(yuv_args(surface, pixels, row_bytes), stream_.get());
    check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
    return {frame, surface.width, surface.height, row_bytes};
  }

 private:
  int enter() override { return exchange_gpu(gpu_); }
  void leave(int before) override { cudaSetDevice(before); }

  const int gpu_;
  OwnedStream stream_;
  std::shared_ptr<FrameMemory> memory_ = std::make_shared<FrameMemory>();
};

}  // namespace

std::unique_ptr<Surfaces> make_cuda_surfaces(int gpu) {
  return std::make_unique<CudaSurfaces>(gpu);
}

}  // namespace vistazo
