#include "kernels/rope.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/rope.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;
using testing::random_floats;
using testing::relative_error;

std::vector<float> random_table(int tokens, int head_dim) {
  std::vector<float> table(static_cast<std::size_t>(tokens * head_dim));
  const auto angles = random_floats(table.size(), 9, 0.0f, 5.0f);
  for (std::size_t i = 0; i < table.size(); ++i) {
    const bool is_sine = i % static_cast<std::size_t>(head_dim) >= static_cast<std::size_t>(head_dim / 2);
    table[i] = is_sine ? std::sin(angles[i - static_cast<std::size_t>(head_dim / 2)]) : std::cos(angles[i]);
  }
  return table;
}

TEST_CASE("rope") {
  struct Case {
    int batch, tokens, heads, head_dim, prefix, gap;
  };
  testing::for_each_simd_target([] {
    for (const Case c : {Case{1, 197, 6, 64, 1, 192},
                         {2, 65, 3, 28, 5, 0},
                         {3, 17, 1, 2, 0, 1},
                         {2, 9, 5, 34, 4, 3},
                         {1, 577, 12, 48, 5, 0},
                         {1, 3, 2, 8, 3, 0}}) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        CAPTURE(c.tokens);
        CAPTURE(c.head_dim);
        const int cols = c.heads * c.head_dim;
        const auto values = random_floats(static_cast<std::size_t>(c.batch * c.tokens * cols), 1);
        const auto table = random_table(std::max(1, c.tokens - c.prefix), c.head_dim);
        GuardedBuffer x(testing::spread_rows(values, cols, c.gap), dtype);
        const RopeArgs args{x.data(),   table.data(), c.batch,      c.tokens, c.heads,
                            c.head_dim, c.prefix,     cols + c.gap, dtype};
        cpu::rope(args, ThreadPool(2));
        const auto rounded = GuardedBuffer(values, dtype).floats();
        const auto expected = reference::rope<double>(args, rounded);
        const double plain = relative_error(reference::rope<float>(args, rounded), expected);
        const auto result = testing::gather_rows(x.floats(), cols, c.gap);
        CHECK(relative_error(result, expected) <= 2 * plain + (dtype == DType::bf16 ? 0x1p-8 : 0x1p-24));
        CHECK(x.is_guard_intact());
        // Prefix tokens keep their bits.
        const auto prefix = static_cast<std::ptrdiff_t>(c.prefix * cols);
        CHECK(std::equal(result.begin(), result.begin() + prefix, rounded.begin()));
      }
    }
  });
}

TEST_CASE("rope: refuses what it cannot do") {
  float value[6] = {};
  CHECK_THROWS_AS(cpu::rope({value, value, 1, 1, 2, 3, 0, 6, DType::f32}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::rope({value, value, 1, 1, 2, 2, 0, 3, DType::f32}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::rope({value, value, 1, 1, 1, 2, 0, 2, DType::i32}, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
