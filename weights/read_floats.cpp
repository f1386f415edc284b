#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "kernels/base/error.h"
#include "kernels/base/half.h"
#include "weights/checkpoint.h"
#include "weights/printable.h"

// Conversion to f32 in blocks that the compiler vectorises: a block is copied to the stack, which also takes care of
// data that is not aligned, and converted there with shifts and one multiplication. Memory is what limits it.
namespace vistazo {
namespace {

constexpr std::size_t kBlock = 2048;  // elements: 4 to 8 KiB, well within the first-level cache

// The top bit of the result is set for infinities and NaNs and no other value: their exponent is all ones, and adding
// one to it carries into the sign's place.
std::uint32_t not_finite_bit(std::uint32_t bits) {
  return (bits & 0x7fffffffu) + 0x00800000u;
}

// Each convert_*: writes `count` values and returns whether one of them is infinite or NaN.
bool convert_f32(const std::uint32_t* bits, std::size_t count, float* out) {
  std::uint32_t seen = 0;
  for (std::size_t i = 0; i < count; ++i) {
    seen |= not_finite_bit(bits[i]);
    out[i] = std::bit_cast<float>(bits[i]);
  }
  return (seen >> 31) != 0;
}

bool convert_bf16(const std::uint16_t* bits, std::size_t count, float* out) {
  std::uint32_t seen = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t wide = std::uint32_t{bits[i]} << 16;
    seen |= not_finite_bit(wide);
    out[i] = std::bit_cast<float>(wide);
  }
  return (seen >> 31) != 0;
}

// Exponent and fraction are moved to their places in an f32, and the exponents' offsets, 15 and 127, are evened out by
// a factor of 2^112. The multiplication also normalises f16's subnormals.
bool convert_f16(const std::uint16_t* bits, std::size_t count, float* out) {
  std::uint32_t seen = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t magnitude = (bits[i] & 0x7fffu);
    seen |= magnitude + 0x0400u;  // as not_finite_bit, one exponent of five bits
    const float value = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
    const std::uint32_t sign = (std::uint32_t{bits[i]} & 0x8000u) << 16;
    out[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
  }
  return (seen >> 15) != 0;
}

template <typename Bits, typename Convert, typename ToFloat>
void convert_blocks(const CheckpointTensor& tensor, const std::string& source, std::span<float> out, Convert convert,
                    ToFloat to_float) {
  alignas(64) std::array<Bits, kBlock> block;
  for (std::size_t start = 0; start < out.size(); start += kBlock) {
    const std::size_t count = std::min(kBlock, out.size() - start);
    std::memcpy(block.data(), tensor.bytes.data() + start * sizeof(Bits), count * sizeof(Bits));
    if (!convert(block.data(), count, out.data() + start)) continue;
    for (std::size_t i = 0; i < count; ++i) {
      const float value = to_float(block[i]);
      if (!std::isfinite(value)) {
        fail(Error::Code::weights, "{}: tensor {}: element {} is {}; finite values are wanted", source,
             in_quotes(tensor.name), start + i, value);
      }
    }
  }
}

// Counts and factors that somebody wrote without a point: D-FINE's reg_scale is an i64. Only what an f32 holds exactly.
template <typename Integer>
void convert_integers(const CheckpointTensor& tensor, const std::string& source, std::span<float> out) {
  constexpr Integer kLargest = Integer{1} << std::numeric_limits<float>::digits;
  for (std::size_t i = 0; i < out.size(); ++i) {
    Integer value;
    std::memcpy(&value, tensor.bytes.data() + i * sizeof(value), sizeof(value));
    if (value < -kLargest || value > kLargest) {
      fail(Error::Code::weights, "{}: tensor {}: element {} is {}, which f32 cannot hold exactly", source,
           in_quotes(tensor.name), i, value);
    }
    out[i] = static_cast<float>(value);
  }
}

}  // namespace

void read_floats(const CheckpointTensor& tensor, const std::string& source, std::span<float> out) {
  const std::size_t count = tensor.bytes.size() / size_of(tensor.dtype);
  if (out.size() != count) {
    fail(Error::Code::argument, "{}: tensor {} has {} elements; the place for them has {}", source,
         in_quotes(tensor.name), count, out.size());
  }
  switch (tensor.dtype) {
    case DType::f32:
      return convert_blocks<std::uint32_t>(tensor, source, out, convert_f32,
                                           [](std::uint32_t bits) { return std::bit_cast<float>(bits); });
    case DType::f16:
      return convert_blocks<std::uint16_t>(tensor, source, out, convert_f16, float_from_f16);
    case DType::bf16:
      return convert_blocks<std::uint16_t>(tensor, source, out, convert_bf16, float_from_bf16);
    case DType::i64:
      return convert_integers<std::int64_t>(tensor, source, out);
    case DType::i32:
      return convert_integers<std::int32_t>(tensor, source, out);
    default:
      fail(Error::Code::weights, "{}: tensor {} is of type {}; f32, f16, bf16, i64 or i32 is wanted", source,
           in_quotes(tensor.name), name_of(tensor.dtype));
  }
}

}  // namespace vistazo
