#include <doctest/doctest.h>
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/base/half.h"
#include "tests/weights/support.h"
#include "weights/checkpoint.h"

namespace vistazo {
namespace {

// A tensor over `values`, which start one byte behind an even address.
template <typename T>
struct Unaligned {
  std::vector<std::byte> storage;
  CheckpointTensor tensor;

  Unaligned(const std::vector<T>& values, DType dtype) : storage(values.size() * sizeof(T) + 1) {
    if (!values.empty()) std::memcpy(storage.data() + 1, values.data(), values.size() * sizeof(T));
    tensor = {"w", dtype, {static_cast<std::int64_t>(values.size())}, std::span(storage).subspan(1)};
  }
};

template <typename T>
std::vector<float> floats_of(const std::vector<T>& values, DType dtype) {
  const Unaligned<T> source(values, dtype);
  std::vector<float> result(values.size());
  read_floats(source.tensor, "x.safetensors", result);
  return result;
}

bool is_same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

// All 16-bit patterns that are finite under `to_float`.
template <typename ToFloat>
std::vector<std::uint16_t> finite_patterns(ToFloat to_float) {
  std::vector<std::uint16_t> patterns;
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    if (std::isfinite(to_float(static_cast<std::uint16_t>(bits)))) patterns.push_back(static_cast<std::uint16_t>(bits));
  }
  return patterns;
}

TEST_CASE("f16: every finite pattern, bit for bit") {
  const auto patterns = finite_patterns(float_from_f16);
  const auto result = floats_of(patterns, DType::f16);
  REQUIRE(patterns.size() == 65536 - 2048);
  for (std::size_t i = 0; i < patterns.size(); ++i) REQUIRE(is_same(result[i], float_from_f16(patterns[i])));
}

TEST_CASE("bf16: every finite pattern, bit for bit") {
  const auto patterns = finite_patterns(float_from_bf16);
  const auto result = floats_of(patterns, DType::bf16);
  REQUIRE(patterns.size() == 65536 - 256);
  for (std::size_t i = 0; i < patterns.size(); ++i) REQUIRE(is_same(result[i], float_from_bf16(patterns[i])));
}

TEST_CASE("f32: copied bit for bit, subnormals and limits too") {
  std::vector<float> values{
      0.0f, -0.0f, 1e-45f, -1e-40f, std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest(), 1.5f};
  for (int i = 0; i < 5000; ++i) values.push_back(static_cast<float>(i) * 0.37f);
  const auto result = floats_of(values, DType::f32);
  for (std::size_t i = 0; i < values.size(); ++i) REQUIRE(is_same(result[i], values[i]));
}

TEST_CASE("sizes around the block") {
  for (const std::size_t size : {0u, 1u, 3u, 2047u, 2048u, 2049u, 4097u}) {
    CAPTURE(size);
    std::vector<std::uint16_t> values(size);
    for (std::size_t i = 0; i < size; ++i) values[i] = bf16_from_float(static_cast<float>(i % 251));
    const auto result = floats_of(values, DType::bf16);
    for (std::size_t i = 0; i < size; ++i) REQUIRE(result[i] == static_cast<float>(i % 251));
  }
}

TEST_CASE("a value that is not finite is named by its index") {
  for (const std::size_t index : {0u, 7u, 2047u, 2048u, 2500u}) {
    CAPTURE(index);
    const std::string wanted = "x.safetensors: tensor \"w\": element " + std::to_string(index) + " is ";
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      std::vector<float> values(2501, 1.0f);
      values[index] = bad;
      CHECK(testing::message_of(Error::Code::weights, [&] { floats_of(values, DType::f32); }).starts_with(wanted));
    }
    for (const std::uint16_t bad : {0x7c00, 0xfc00, 0x7e00, 0x7c01, 0xffff}) {
      std::vector<std::uint16_t> values(2501, 0x3c00);
      values[index] = bad;
      CHECK(testing::message_of(Error::Code::weights, [&] { floats_of(values, DType::f16); }).starts_with(wanted));
    }
    for (const std::uint16_t bad : {0x7f80, 0xff80, 0x7fc0, 0x7f81, 0xffff}) {
      std::vector<std::uint16_t> values(2501, 0x3f80);
      values[index] = bad;
      CHECK(testing::message_of(Error::Code::weights, [&] { floats_of(values, DType::bf16); }).starts_with(wanted));
    }
  }
}

TEST_CASE("whole numbers are read where f32 holds them exactly") {
  constexpr std::int32_t kLargest = 1 << 24;
  const std::vector<float> wanted{4.0f, -7.0f, 0x1p24f, -0x1p24f};
  CHECK(floats_of(std::vector<std::int64_t>{4, -7, kLargest, -kLargest}, DType::i64) == wanted);
  CHECK(floats_of(std::vector<std::int32_t>{4, -7, kLargest, -kLargest}, DType::i32) == wanted);
  for (const std::int64_t bad : {std::int64_t{kLargest} + 1, -std::int64_t{kLargest} - 1, INT64_MIN, INT64_MAX}) {
    const std::vector<std::int64_t> values{0, bad};
    CHECK(testing::message_of(Error::Code::weights, [&] { floats_of(values, DType::i64); }) ==
          fmt::format(R"(x.safetensors: tensor "w": element 1 is {}, which f32 cannot hold exactly)", bad));
  }
}

TEST_CASE("other types and a wrong size are refused") {
  const Unaligned<std::uint8_t> bytes({1, 2}, DType::u8);
  std::vector<float> two(2), three(3);
  CHECK(testing::message_of(Error::Code::weights, [&] { read_floats(bytes.tensor, "x", two); }) ==
        R"(x: tensor "w" is of type u8; f32, f16, bf16, i64 or i32 is wanted)");
  const Unaligned<float> floats({1.0f, 2.0f}, DType::f32);
  CHECK(testing::message_of(Error::Code::argument, [&] { read_floats(floats.tensor, "x", three); }) ==
        R"(x: tensor "w" has 2 elements; the place for them has 3)");
}

}  // namespace
}  // namespace vistazo
