#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "kernels/base/check_cuda.h"
#include "kernels/base/device_buffer.h"
#include "kernels/base/dtype.h"
#include "kernels/base/half.h"

namespace vistazo::cuda {

// Owned bytes of the current device's memory, not initialised. Move-only.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  explicit DeviceMemory(std::size_t bytes) : data_(allocate_on_device(bytes)), bytes_(bytes) {}
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(DeviceMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// A copy of f32 host values in device memory as f32, f16 or bf16, rounded to nearest even; complete on return.
inline DeviceMemory upload(std::span<const float> values, DType dtype) {
  DeviceMemory memory(values.size() * size_of(dtype));
  const auto copy = [&](const void* from) {
    check_cuda(cudaMemcpy(memory.data(), from, memory.bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
  };
  if (dtype == DType::f32) {
    copy(values.data());
    return memory;
  }
  std::vector<std::uint16_t> narrow(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::bf16) {
      narrow[i] = bf16_from_float(values[i]);
    } else {
      const __half half = __float2half_rn(values[i]);
      std::memcpy(&narrow[i], &half, sizeof(half));
    }
  }
  copy(narrow.data());
  return memory;
}

}  // namespace vistazo::cuda
