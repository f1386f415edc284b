#pragma once

// CUDA's driver as these headers declare it: no file includes both them and CUDA's own.
#include <ffnvcodec/dynlink_cuda.h>
// clang-format off
#include <ffnvcodec/dynlink_cuviddec.h>
#include <ffnvcodec/dynlink_nvcuvid.h>
// clang-format on

namespace vistazo {

// The functions of NVIDIA's library of video decoders that are used.
struct NvcuvidLibrary {
  tcuvidGetDecoderCaps* get_decoder_caps = nullptr;
  tcuvidCreateDecoder* create_decoder = nullptr;
  tcuvidDestroyDecoder* destroy_decoder = nullptr;
  tcuvidDecodePicture* decode_picture = nullptr;
  tcuvidGetDecodeStatus* get_decode_status = nullptr;  // null in drivers before 396
  tcuvidMapVideoFrame* map_video_frame = nullptr;
  tcuvidUnmapVideoFrame* unmap_video_frame = nullptr;
  tcuvidCreateVideoParser* create_video_parser = nullptr;
  tcuvidParseVideoData* parse_video_data = nullptr;
  tcuvidDestroyVideoParser* destroy_video_parser = nullptr;
};

// It stays loaded until the process ends. Throws Error{device} if it is not there or lacks a function.
NvcuvidLibrary load_nvcuvid(const char* path);

}  // namespace vistazo
