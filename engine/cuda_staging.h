#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "engine/cuda_device.h"
#include "kernels/base/device_buffer.h"
#include "kernels/cpu/thread_pool.h"

namespace vistazo {

// The way of host memory to a GPU and back: through page-locked memory, which several threads fill, in parts, so that
// one part is filled while the one before travels. Copies run on the stream. An image that was uploaded is there for
// what is put on the stream before the next call.
class CudaStaging {
 public:
  CudaStaging(cudaStream_t stream, ThreadPool pool) : stream_(stream), pool_(std::move(pool)) {}

  void upload(std::span<const std::byte> from, void* to);
  // Rows of an image, which follow each other at row_bytes (perhaps negative), to device memory without gaps.
  const std::uint8_t* upload_image(const std::uint8_t* pixels, int rows, std::size_t columns, std::int64_t row_bytes);
  // Waits for the copy, and for everything before it.
  void download(const void* from, std::span<std::byte> to);

  std::size_t device_bytes() const { return images_.size(); }

 private:
  std::size_t reserve(std::size_t bytes);
  void send(std::size_t offset, std::span<const std::byte> from, std::byte* to);

  cudaStream_t stream_;
  ThreadPool pool_;
  PinnedBuffer pinned_;
  DeviceBuffer images_;  // images lie in it as they lie in pinned_
  std::size_t used_ = 0;
};

}  // namespace vistazo
