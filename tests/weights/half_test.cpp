#include "kernels/base/half.h"

#include <doctest/doctest.h>

#include <limits>

namespace vistazo {
namespace {

TEST_CASE("f16: every value survives, what lies between goes to the nearer one, ties to even") {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const auto low = static_cast<std::uint16_t>(bits);
    const float value = float_from_f16(low);
    REQUIRE(f16_from_float(value) == low);
    REQUIRE(f16_from_float(-value) == (low | 0x8000));
    if (bits == 0x7bff) break;
    const float next = float_from_f16(static_cast<std::uint16_t>(low + 1)), middle = value + (next - value) / 2;
    REQUIRE(f16_from_float(middle) == low + (low & 1));
    REQUIRE(f16_from_float(std::nextafter(middle, 0.0f)) == low);
    REQUIRE(f16_from_float(std::nextafter(middle, 1e6f)) == low + 1);
  }
}

TEST_CASE("f16: what is too large becomes an infinity, what is too small zero") {
  CHECK(f16_from_float(65519.0f) == 0x7bff);
  CHECK(f16_from_float(65520.0f) == 0x7c00);
  CHECK(f16_from_float(-std::numeric_limits<float>::infinity()) == 0xfc00);
  CHECK(f16_from_float(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK(std::isnan(float_from_f16(f16_from_float(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace vistazo
