#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "kernels/base/aligned.h"
#include "kernels/base/dtype.h"
#include "kernels/base/half.h"

// Inputs and outputs of kernel tests: fresh random values, poisoned and guarded outputs, errors in double precision.
namespace vistazo::testing {

inline std::vector<float> random_floats(std::size_t count, unsigned seed, float mean = 0.0f, float deviation = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> values(count);
  for (float& v : values) v = normal(generator);
  return values;
}

// Elements of a dtype at an aligned address, between two guard zones. Made poisoned with NaN (floats) or 0xA5 bytes.
class GuardedBuffer {
 public:
  GuardedBuffer(std::size_t count, DType dtype)
      : count_(count), dtype_(dtype), storage_(2 * kGuard + align_up(count * size_of(dtype))) {
    std::memset(storage_.data(), kPattern, storage_.size());
    if (dtype == DType::f32) {
      for (std::size_t i = 0; i < count; ++i) as<float>()[i] = std::numeric_limits<float>::quiet_NaN();
    } else if (dtype == DType::bf16) {
      for (std::size_t i = 0; i < count; ++i) as<std::uint16_t>()[i] = 0x7fc0;
    }
  }
  GuardedBuffer(std::span<const float> values, DType dtype) : GuardedBuffer(values.size(), dtype) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (dtype == DType::f32)
        as<float>()[i] = values[i];
      else
        as<std::uint16_t>()[i] = bf16_from_float(values[i]);
    }
  }

  void* data() { return storage_.data() + kGuard; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(storage_.data() + kGuard);
  }
  // The stored values, after rounding to the dtype.
  std::vector<float> floats() {
    std::vector<float> values(count_);
    for (std::size_t i = 0; i < count_; ++i) {
      values[i] = dtype_ == DType::f32 ? as<float>()[i] : float_from_bf16(as<std::uint16_t>()[i]);
    }
    return values;
  }
  // Whether nothing was written before or behind the elements.
  bool is_guard_intact() const {
    const std::byte* bytes = storage_.data();
    const std::size_t end = kGuard + count_ * size_of(dtype_);
    for (std::size_t i = 0; i < storage_.size(); ++i) {
      if ((i < kGuard || i >= end) && bytes[i] != std::byte{kPattern}) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kGuard = 256;
  static constexpr unsigned char kPattern = 0xA5;
  std::size_t count_;
  DType dtype_;
  AlignedBuffer storage_;
};

// ||a - b|| / ||b||; NaN or infinity in `a` gives infinity.
template <typename A, typename B>
double relative_error(const std::vector<A>& a, const std::vector<B>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double difference = 0.0, norm = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(static_cast<double>(a[i]))) return std::numeric_limits<double>::infinity();
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference) / std::max(std::sqrt(norm), 1e-30);
}

template <typename A, typename B>
double max_difference(const std::vector<A>& a, const std::vector<B>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(static_cast<double>(a[i]))) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return largest;
}

}  // namespace vistazo::testing
