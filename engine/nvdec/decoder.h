#pragma once

#include <vistazo/gpu_video.h>

#include <memory>

#include "engine/nvdec/surfaces.h"

namespace vistazo {

// library: what NVIDIA's is called, or where a substitute lies. Throws as GpuVideoDecoder's constructor does.
std::unique_ptr<GpuVideoDecoder::Impl> make_nvdec(VideoCodec codec, bool keeps_up, std::unique_ptr<Surfaces> surfaces,
                                                  const char* library = "libnvcuvid.so.1");

}  // namespace vistazo
