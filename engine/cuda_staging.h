#pragma once

#include <cstdint>
#include <span>

#include "engine/cuda_device.h"
#include "kernels/base/device_buffer.h"

namespace vistazo {

// The way of host memory to a GPU and back: through page-locked memory, in pieces, so that one piece is copied into it
// while the one before travels. Copies run on the stream. An image that was uploaded is there for what is put on the
// stream before the next call.
class CudaStaging {
 public:
  explicit CudaStaging(cudaStream_t stream) : stream_(stream) {}

  void upload(std::span<const std::byte> from, void* to);
  // Rows of an image, which follow each other at row_bytes (perhaps negative), to device memory without gaps.
  const std::uint8_t* upload_image(const std::uint8_t* pixels, int rows, std::size_t columns, std::int64_t row_bytes);
  // Waits for the copy, and for everything before it.
  void download(const void* from, std::span<std::byte> to);

  std::size_t device_bytes() const { return images_.size(); }

 private:
  std::size_t reserve(std::size_t bytes);

  cudaStream_t stream_;
  PinnedBuffer pinned_;
  DeviceBuffer images_;  // images lie in it as they lie in pinned_
  std::size_t used_ = 0;
};

}  // namespace vistazo
