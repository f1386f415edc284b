#include "kernels/add_mean.h"

#include <doctest/doctest.h>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/add_mean.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;
using testing::relative_error;

TEST_CASE("add_mean") {
  testing::for_each_simd_target([] {
    for (const int tokens : {1, 3, 100, 577}) {
      for (const int cols : {1, 17, 63, 64, 65, 197}) {
        for (const DType dtype : {DType::f32, DType::bf16}) {
          CAPTURE(tokens);
          CAPTURE(cols);
          const int batch = tokens == 100 ? 3 : 2;
          const auto values = testing::random_floats(static_cast<std::size_t>(batch * tokens * cols), 1, 0.5f);
          GuardedBuffer x(values, dtype), y(values.size(), dtype);
          cpu::add_mean({x.data(), y.data(), batch, tokens, cols, dtype}, ThreadPool(2));
          const auto t = static_cast<std::size_t>(tokens), c = static_cast<std::size_t>(cols);
          const auto expected = reference::add_mean<double>(x.floats(), t, c);
          const double plain = relative_error(reference::add_mean<float>(x.floats(), t, c), expected);
          const double rounding = dtype == DType::bf16 ? 0x1p-8 : 0x1p-23;
          CHECK(relative_error(y.floats(), expected) <= 2 * plain + rounding);
          CHECK(y.is_guard_intact());
          cpu::add_mean({x.data(), x.data(), batch, tokens, cols, dtype}, ThreadPool(1));
          CHECK(x.floats() == y.floats());
        }
      }
    }
  });
}

TEST_CASE("add_mean: wrong arguments are named") {
  float value = 0;
  CHECK_THROWS_AS(cpu::add_mean({&value, &value, 1, 0, 1, DType::f32}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::add_mean({&value, &value, 1, 1, 1, DType::i32}, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
