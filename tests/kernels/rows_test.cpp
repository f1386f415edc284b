#include "kernels/rows.h"

#include <doctest/doctest.h>
#include <vistazo/error.h>

#include <cstdint>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "tests/reference/rows.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"

namespace vistazo {
namespace {

using testing::for_each_simd_target;
using testing::GuardedBuffer;
using testing::random_floats;

const WindowGrid kGrids[] = {{1, 1, 1, 0}, {3, 37, 1, 0}, {3, 5, 1, 1},  {6, 4, 2, 1},
                             {6, 9, 3, 5}, {4, 4, 4, 0},  {16, 12, 4, 1}};

// Copies must be exact, a conversion to bf16 correctly rounded: every comparison below is bit for bit.
TEST_CASE("patches") {
  const ThreadPool pool(2);
  for_each_simd_target([&] {
    for (const WindowGrid& grid : kGrids) {
      for (const int patch : {1, 3, 7, 8, 14, 16, 17}) {
        for (const DType dtype : {DType::f32, DType::bf16}) {
          CAPTURE(grid.height);
          CAPTURE(grid.windows);
          CAPTURE(patch);
          const int batch = 2, channels = 3;
          const std::size_t count = std::size_t(batch) * channels * grid.height * grid.width * patch * patch;
          const std::vector<float> pixels = random_floats(count, 7);
          GuardedBuffer y(std::size_t(batch) * grid.tokens() * channels * patch * patch, dtype);
          cpu::patches({pixels.data(), y.data(), batch, channels, patch, grid, dtype}, pool);
          CHECK(y.is_guard_intact());
          GuardedBuffer expected(reference::patches(pixels, batch, channels, patch, grid), dtype);
          CHECK(y.floats() == expected.floats());
        }
      }
    }
  });
}

TEST_CASE("patches: infinities, NaN, ties and subnormals round to bf16 as the scalar conversion does") {
  const std::vector<std::uint32_t> bits = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff, 0x3f808000,
                                           0x3f818000, 0x3f808001, 0x7f7fffff, 0x00000001, 0x80000000, 0x00008000,
                                           0x477fff00, 0x3f7fffff, 0xbf80ffff, 0x33333333};
  std::vector<float> pixels(256);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = std::bit_cast<float>(bits[i % bits.size()]);
  for_each_simd_target([&] {
    GuardedBuffer y(256, DType::bf16);
    cpu::patches({pixels.data(), y.data(), 1, 1, 16, {1, 1, 1, 0}, DType::bf16}, ThreadPool(1));
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      CAPTURE(bits[i % bits.size()]);
      CHECK(y.as<std::uint16_t>()[i] == bf16_from_float(pixels[i]));
    }
  });
}

TEST_CASE("windows_to_grid takes every patch token to its place and leaves the gaps between rows alone") {
  const ThreadPool pool(2);
  for (const WindowGrid& grid : kGrids) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::i32}) {
      const int batch = 2, cols = 5, stride = 8;
      const std::vector<int> patch_of_token = reference::patch_of_token(grid);
      const int tokens = grid.tokens(), area = grid.height * grid.width;
      REQUIRE(tokens == static_cast<int>(patch_of_token.size()));
      const DType stored = dtype == DType::i32 ? DType::f32 : dtype;  // moved as bits, so floats do
      GuardedBuffer x(random_floats(std::size_t(batch) * tokens * cols, 11), stored);
      GuardedBuffer y(std::size_t(batch) * area * stride, stored);
      cpu::windows_to_grid({x.data(), y.data(), batch, cols, stride, grid, dtype}, pool);
      CHECK(y.is_guard_intact());
      const std::vector<float> from = x.floats(), to = y.floats();
      std::size_t wrong = 0;
      for (int b = 0; b < batch; ++b) {
        for (int token = 0; token < tokens; ++token) {
          if (patch_of_token[token] < 0) continue;
          const float* row = &to[(std::size_t(b) * area + patch_of_token[token]) * stride];
          for (int c = 0; c < stride; ++c) {
            wrong += c < cols ? row[c] != from[(std::size_t(b) * tokens + token) * cols + c] : !std::isnan(row[c]);
          }
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("gather_rows") {
  const ThreadPool pool(2);
  for (const bool shared : {false, true}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const int batch = 3, x_rows = 197, rows = 65, cols = 17;
      GuardedBuffer x(random_floats(std::size_t(shared ? 1 : batch) * x_rows * cols, 3), dtype);
      GuardedBuffer y(std::size_t(batch) * rows * cols, dtype);
      std::vector<std::int32_t> index(std::size_t(batch) * rows);
      for (std::size_t i = 0; i < index.size(); ++i) index[i] = static_cast<std::int32_t>(i * 89 % x_rows);
      index.front() = x_rows - 1;
      cpu::gather_rows({x.data(), index.data(), y.data(), batch, x_rows, rows, cols, shared, dtype}, pool);
      CHECK(y.is_guard_intact());
      const std::vector<float> from = x.floats(), to = y.floats();
      std::size_t wrong = 0;
      for (int b = 0; b < batch; ++b) {
        for (int i = 0; i < rows; ++i) {
          const int source = (shared ? 0 : b * x_rows) + index[std::size_t(b) * rows + i];
          for (int c = 0; c < cols; ++c) wrong += to[(b * rows + i) * cols + c] != from[source * cols + c];
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("rows: wrong arguments are named") {
  const ThreadPool pool(1);
  float value = 0.0f;
  for (const std::int32_t index : {-1, 2}) {
    CHECK_THROWS_WITH_AS(cpu::gather_rows({&value, &index, &value, 1, 2, 1, 1, true, DType::f32}, pool),
                         doctest::Contains("index[0]"), Error);
  }
  CHECK_THROWS_AS(cpu::patches({&value, &value, 1, 1, 1, {3, 4, 2, 0}, DType::f32}, pool), Error);
  CHECK_THROWS_AS(cpu::patches({&value, &value, 1, 1, 1, {1, 1, 1, 0}, DType::i64}, pool), Error);
  CHECK_THROWS_AS(cpu::windows_to_grid({&value, &value, 1, 4, 3, {1, 1, 1, 0}, DType::f32}, pool), Error);
}

}  // namespace
}  // namespace vistazo
