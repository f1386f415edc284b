#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "kernels/base/check_cuda.h"
#include "kernels/base/dtype.h"
#include "kernels/base/half.h"

// Inputs and outputs of tests on the device, as tests/support/buffers.h has them on the host.
namespace vistazo::testing {

inline std::uint16_t f16_from_float(float value) {
  const __half half = __float2half_rn(value);
  std::uint16_t bits;
  std::memcpy(&bits, &half, sizeof(bits));
  return bits;
}

inline float rounded(float value, DType dtype) {
  if (dtype == DType::f16) return float_from_f16(f16_from_float(value));
  return dtype == DType::bf16 ? float_from_bf16(bf16_from_float(value)) : value;
}

inline std::vector<float> rounded(std::vector<float> values, DType dtype) {
  for (float& v : values) v = rounded(v, dtype);
  return values;
}

// Elements of f32, f16 or bf16 in device memory between two guard zones, poisoned with NaN unless values are given. The
// guards are full of NaN as well: what is read from there shows.
class DeviceBuffer {
 public:
  DeviceBuffer(std::size_t count, DType dtype)
      : DeviceBuffer(std::vector<float>(count, std::numeric_limits<float>::quiet_NaN()), dtype) {}
  DeviceBuffer(std::span<const float> values, DType dtype)
      : count_(values.size()), dtype_(dtype), bytes_(2 * kGuard + values.size() * size_of(dtype)) {
    std::vector<unsigned char> host(bytes_, kPattern);
    for (std::size_t i = 0; i < count_; ++i) {
      const std::uint16_t half = dtype == DType::f16 ? f16_from_float(values[i]) : bf16_from_float(values[i]);
      unsigned char* to = host.data() + kGuard + i * size_of(dtype);
      std::memcpy(to, dtype == DType::f32 ? static_cast<const void*>(&values[i]) : &half, size_of(dtype));
    }
    check_cuda(cudaMalloc(&memory_, bytes_), "cudaMalloc");
    check_cuda(cudaMemcpy(memory_, host.data(), bytes_, cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~DeviceBuffer() { cudaFree(memory_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  void* data() const { return at(0); }
  void* at(std::size_t element) const { return static_cast<std::byte*>(memory_) + kGuard + element * size_of(dtype_); }

  // The stored values, once the device has finished. Throws what a kernel failed with.
  std::vector<float> floats() const {
    const std::vector<unsigned char> host = bytes();
    std::vector<float> values(count_);
    for (std::size_t i = 0; i < count_; ++i) {
      const unsigned char* from = host.data() + kGuard + i * size_of(dtype_);
      std::uint16_t half = 0;
      std::memcpy(dtype_ == DType::f32 ? static_cast<void*>(&values[i]) : &half, from, size_of(dtype_));
      if (dtype_ == DType::f16) values[i] = float_from_f16(half);
      if (dtype_ == DType::bf16) values[i] = float_from_bf16(half);
    }
    return values;
  }
  // Whether nothing was written before or behind the elements.
  bool is_guard_intact() const {
    const std::vector<unsigned char> host = bytes();
    for (std::size_t i = 0; i < bytes_; ++i) {
      if ((i < kGuard || i >= bytes_ - kGuard) && host[i] != kPattern) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kGuard = 1024;
  static constexpr unsigned char kPattern = 0xff;  // a NaN in every float type

  std::vector<unsigned char> bytes() const {
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    std::vector<unsigned char> host(bytes_);
    check_cuda(cudaMemcpy(host.data(), memory_, bytes_, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return host;
  }

  std::size_t count_;
  DType dtype_;
  std::size_t bytes_;
  void* memory_ = nullptr;
};

// Integers, bytes or structs, between guard zones too; full of 0xff bytes unless values are given.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t count) : count_(count), storage_(words(count), DType::f32) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    check_cuda(cudaMemcpy(data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  }

  T* data() const { return static_cast<T*>(storage_.data()); }
  // Once the device has finished. Throws what a kernel failed with.
  std::vector<T> values() const {
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    std::vector<T> values(count_);
    check_cuda(cudaMemcpy(values.data(), data(), count_ * sizeof(T), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return values;
  }
  bool is_guard_intact() const { return storage_.is_guard_intact(); }

 private:
  // 0xff in every byte is a NaN, which is how a buffer is poisoned.
  static std::vector<float> words(std::size_t count) {
    return std::vector<float>((count * sizeof(T) + sizeof(float) - 1) / sizeof(float), std::bit_cast<float>(~0u));
  }

  std::size_t count_;
  DeviceBuffer storage_;
};

}  // namespace vistazo::testing
