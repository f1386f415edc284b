#include "kernels/activation.h"

#include <doctest/doctest.h>

#include <limits>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/activation.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;
using testing::random_floats;

constexpr Activation kAll[] = {Activation::none, Activation::relu, Activation::silu, Activation::gelu};

void check(const std::vector<float>& values, Activation activation, DType dtype) {
  CAPTURE(static_cast<int>(activation));
  CAPTURE(values.size());
  GuardedBuffer x(values, dtype), y(values.size(), dtype);
  cpu::activation({.x = x.data(),
                   .y = y.data(),
                   .count = static_cast<std::int64_t>(values.size()),
                   .activation = activation,
                   .dtype = dtype},
                  ThreadPool(2));
  const auto inputs = x.floats(), outputs = y.floats();
  double worst = 0.0;  // error as a share of what is allowed
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double expected = reference::activate(static_cast<double>(inputs[i]), activation);
    // Below 1: 1e-6 covers four roundings of 2^-24 and erf's and exp's 2e-7. Above, the rounding of the result.
    const double rounding = dtype == DType::bf16 ? 0x1p-8 * std::abs(expected) : 0.0;
    const double error = std::abs(static_cast<double>(outputs[i]) - expected);
    worst = std::max(worst, error / (1e-6 * std::max(1.0, std::abs(expected)) + rounding));
  }
  CHECK(worst <= 1.0);
  CHECK(y.is_guard_intact());
}

TEST_CASE("activation: counts that are multiples of nothing") {
  testing::for_each_simd_target([] {
    for (const std::size_t count : {0, 1, 3, 17, 63, 65, 1025, 40007}) {
      for (const Activation activation : kAll) {
        check(random_floats(count, 1, 0.0f, 3.0f), activation, DType::f32);
        check(random_floats(count, 1, 0.0f, 3.0f), activation, DType::bf16);
      }
    }
  });
}

TEST_CASE("activation: every value from -20 to 20 in steps of 1/1024, and far out") {
  std::vector<float> values;
  for (int i = -20 * 1024; i <= 20 * 1024; ++i) values.push_back(static_cast<float>(i) / 1024);
  for (const float v : {88.0f, 89.0f, 100.0f, 104.0f, 1e4f, 1e20f, 1e-20f, 1e-38f, 1e-40f, 1e-45f}) {
    values.push_back(v);
    values.push_back(-v);
  }
  testing::for_each_simd_target([&] {
    for (const Activation activation : kAll) {
      check(values, activation, DType::f32);
      check(values, activation, DType::bf16);
    }
  });
}

TEST_CASE("activation: NaN stays NaN, the infinities have their limits") {
  testing::for_each_simd_target([] {
    for (const Activation activation : kAll) {
      const float infinity = std::numeric_limits<float>::infinity();
      const std::vector<float> x(33, std::numeric_limits<float>::quiet_NaN()), large(33, infinity);
      std::vector<float> y(33);
      cpu::activation({.x = x.data(), .y = y.data(), .count = 33, .activation = activation, .dtype = DType::f32},
                      ThreadPool(1));
      for (const float v : y) CHECK(std::isnan(v));
      cpu::activation({.x = large.data(), .y = y.data(), .count = 33, .activation = activation, .dtype = DType::f32},
                      ThreadPool(1));
      for (const float v : y) CHECK(v == infinity);
    }
  });
}

TEST_CASE("activation: in place; refuses what it cannot do") {
  auto values = random_floats(20001, 2);
  const auto before = values;
  cpu::activation(
      {.x = values.data(), .y = values.data(), .count = 20001, .activation = Activation::relu, .dtype = DType::f32},
      ThreadPool(2));
  for (std::size_t i = 0; i < values.size(); ++i) REQUIRE(values[i] == std::max(before[i], 0.0f));
  CHECK_THROWS_AS(
      cpu::activation(
          {.x = values.data(), .y = values.data(), .count = 1, .activation = Activation::relu, .dtype = DType::f16},
          ThreadPool(1)),
      Error);
}

}  // namespace
}  // namespace vistazo
