#pragma once

#include "apps/video/libav_input.h"
#include "apps/video/video_reader.h"

namespace vistazo::apps {

// Decodes on the CPU, through FFmpeg; rotation that a file asks for is applied. threads: 0 for as many as FFmpeg thinks
// right. Throws Error{file}.
std::unique_ptr<VideoReader> make_libav_reader(std::shared_ptr<LibavInput> input, int threads,
                                               const std::atomic<bool>& stopped);

}  // namespace vistazo::apps
