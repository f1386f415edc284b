#pragma once

#include <dlfcn.h>
#include <vistazo/gpu_video.h>
#include <vistazo/yuv_image.h>

#include <memory>
#include <utility>

#include "engine/gpu_video_impl.h"
#include "engine/nvdec/decoder.h"
#include "tests/support/fake_nvcuvid.h"

namespace vistazo::testing {

// The state of the fake library, as new.
inline FakeNvcuvid& reset_fake_nvcuvid() {
  static void* const library = dlopen(VISTAZO_FAKE_NVCUVID, RTLD_NOW);
  auto* state = reinterpret_cast<FakeStateFunction*>(dlsym(library, kFakeState))();
  *state = {};
  return *state;
}

// Frames in host memory, from surfaces that lie there too. `turns` counts entries that were not left yet.
class HostSurfaces final : public Surfaces {
 public:
  explicit HostSurfaces(int& turns) : turns_(turns) {}

  CudaStream stream() override { return static_cast<CudaStream>(kFakeStream); }
  GpuFrame convert(const YuvImage& surface) override {
    const std::ptrdiff_t row_bytes = std::ptrdiff_t{3} * surface.width + 5;
    const auto bytes = static_cast<std::size_t>(row_bytes) * static_cast<std::size_t>(surface.height);
    const std::shared_ptr<std::uint8_t> pixels(new std::uint8_t[bytes], std::default_delete<std::uint8_t[]>());
    convert_to_bgr(surface, pixels.get(), row_bytes);
    return {pixels, surface.width, surface.height, row_bytes, 0, /*is_on_device=*/false};
  }

 private:
  int enter() override { return turns_++; }
  void leave(int before) override { turns_ = before; }

  int& turns_;
};

inline GpuVideoDecoder make_fake_decoder(VideoCodec codec, bool keeps_up, int& turns) {
  return GpuVideoDecoder(make_nvdec(codec, keeps_up, std::make_unique<HostSurfaces>(turns), VISTAZO_FAKE_NVCUVID));
}

}  // namespace vistazo::testing
