#pragma once

#include <vistazo/error.h>
#include <vistazo/image.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace vistazo {

enum class VideoCodec : std::uint8_t { h264, hevc };

// A decoded frame in a GPU's memory: what a Detector on that GPU takes as it is. Its memory is used again once nobody
// holds it.
struct GpuFrame {
  std::shared_ptr<const std::uint8_t> pixels;  // bgr8
  int width = 0, height = 0;
  std::ptrdiff_t row_bytes = 0;
  std::int64_t timestamp = 0;  // of the packet that the frame began in
  bool is_on_device = true;

  Image view() const { return {pixels.get(), width, height, row_bytes, PixelFormat::bgr8, is_on_device}; }
};

// Copies the frame's pixels to host memory. Throws Error{device}.
void download(const GpuFrame& frame, std::uint8_t* to, std::ptrdiff_t row_bytes);

// Decodes H.264 and H.265 on a GPU's video engine (NVDEC), whose library is loaded when the first decoder is made.
// For one thread. Throws Error{device} where there is no such GPU or library, or it fails, and Error{unsupported} for
// a stream that it cannot decode, or a build without CUDA or NVIDIA's headers.
class GpuVideoDecoder {
 public:
  // gpu: an index, the detector's. keeps_up: frames come out as soon as they can, for live sources; else several are
  // decoded at a time.
  GpuVideoDecoder(VideoCodec codec, int gpu, bool keeps_up = false);
  ~GpuVideoDecoder();
  GpuVideoDecoder(GpuVideoDecoder&&) noexcept;
  GpuVideoDecoder& operator=(GpuVideoDecoder&&) noexcept;

  // A picture, or field, of the stream in Annex B's format (with start codes), and whatever stands before it.
  // timestamp: any number; its frame carries it. What is damaged is left out and counted.
  void decode(std::span<const std::uint8_t> packet, std::int64_t timestamp);
  // The stream has ended, or breaks off here: the frames under way come out. Nothing may follow.
  void flush();
  // The next frame, in the order they are shown. False if there is none before more of the stream comes.
  bool next(GpuFrame& frame);

  // Frames that were damaged, and left out.
  std::int64_t broken_frames() const;
  // Of the stream, in frames a second; 0 / 1 where it does not say.
  struct Rate {
    std::int64_t numerator = 0, denominator = 1;
  };
  Rate rate() const;

  struct Impl;
  explicit GpuVideoDecoder(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace vistazo
