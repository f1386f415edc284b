#include "engine/nvdec/library.h"

#include <dlfcn.h>

#include <type_traits>

#include "kernels/base/error.h"

namespace vistazo {

NvcuvidLibrary load_nvcuvid(const char* path) {
  NvcuvidLibrary library;
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    fail(Error::Code::device, "NVDEC: {} is not there; it comes with NVIDIA's driver (in containers: capability video)",
         path);
  }
  const auto find = [&](auto*& function, const char* name, bool is_needed = true) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (function == nullptr && is_needed) {
      fail(Error::Code::device, "NVDEC: {} has no {}; a newer driver is wanted", path, name);
    }
  };
  find(library.get_decoder_caps, "cuvidGetDecoderCaps");
  find(library.create_decoder, "cuvidCreateDecoder");
  find(library.destroy_decoder, "cuvidDestroyDecoder");
  find(library.decode_picture, "cuvidDecodePicture");
  find(library.get_decode_status, "cuvidGetDecodeStatus", false);
  find(library.map_video_frame, "cuvidMapVideoFrame64");
  find(library.unmap_video_frame, "cuvidUnmapVideoFrame64");
  find(library.create_video_parser, "cuvidCreateVideoParser");
  find(library.parse_video_data, "cuvidParseVideoData");
  find(library.destroy_video_parser, "cuvidDestroyVideoParser");
  return library;
}

}  // namespace vistazo
