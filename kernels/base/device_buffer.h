#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>

#include "kernels/base/check_cuda.h"

namespace vistazo {

inline double mebibytes(std::size_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

// Memory of the current device; null for 0 bytes. Throws Error{device}, saying how much was asked for and is free.
inline void* allocate_on_device(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is no lasting state of the device
    std::size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    fail(Error::Code::device,
         "the GPU is out of memory: {:.1f} MiB were asked for, {:.1f} of {:.1f} MiB are free; a smaller batch, image "
         "or precision needs less",
         mebibytes(bytes), mebibytes(available), mebibytes(total));
  }
  check_cuda(error, "cudaMalloc");
  return data;
}

// Owned memory of the device that was current when it was made, not initialised. What is given back waits for all work
// of the device: nothing that runs can lose it.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(std::size_t bytes) : data_(allocate_on_device(bytes)), size_(bytes) {}

  std::byte* data() const { return static_cast<std::byte*>(data_.get()); }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(void* data) const { cudaFree(data); }
  };
  std::unique_ptr<void, Free> data_;
  std::size_t size_ = 0;
};

// Host memory that the device copies from and to while the processor does something else.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  explicit PinnedBuffer(std::size_t bytes) : size_(bytes) {
    if (bytes == 0) return;
    void* data = nullptr;
    const cudaError_t error = cudaMallocHost(&data, bytes);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      fail(Error::Code::device, "{:.1f} MiB of page-locked host memory were asked for; there is not so much left",
           mebibytes(bytes));
    }
    check_cuda(error, "cudaMallocHost");
    data_.reset(data);
  }

  std::byte* data() const { return static_cast<std::byte*>(data_.get()); }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(void* data) const { cudaFreeHost(data); }
  };
  std::unique_ptr<void, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace vistazo
