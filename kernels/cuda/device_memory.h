#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
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
  const auto copy = [&](std::size_t first, const void* from, std::size_t count) {
    check_cuda(cudaMemcpy(static_cast<std::byte*>(memory.data()) + first * size_of(dtype), from, count * size_of(dtype),
                          cudaMemcpyHostToDevice),
               "cudaMemcpy");
  };
  if (dtype == DType::f32) {
    copy(0, values.data(), values.size());
    return memory;
  }
  // Piece by piece in the same memory: a fresh vector of a whole matrix would cost more than its conversion does.
  constexpr std::size_t kPiece = std::size_t{1} << 17;
  thread_local std::vector<std::uint16_t> narrow(kPiece);
  for (std::size_t first = 0; first < values.size(); first += kPiece) {
    const std::span<const float> piece = values.subspan(first, std::min(kPiece, values.size() - first));
    if (dtype == DType::bf16) {
      std::ranges::transform(piece, narrow.begin(), [](float value) { return bf16_from_float(value); });
    } else {
      std::ranges::transform(piece, narrow.begin(), [](float value) { return f16_from_float(value); });
    }
    copy(first, narrow.data(), piece.size());
  }
  return memory;
}

}  // namespace vistazo::cuda
