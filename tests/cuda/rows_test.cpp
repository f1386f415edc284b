#include "kernels/rows.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/depth_to_space.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/depth_to_space.h"
#include "tests/reference/rows.h"
#include "tests/support/buffers.h"

// patches, windows_to_grid, gather_rows and depth_to_space. Copies are exact, conversions correctly rounded: every
// comparison is bit for bit.
namespace vistazo {
namespace {

using testing::DeviceArray;
using testing::DeviceBuffer;
using testing::random_floats;

constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16};
const WindowGrid kGrids[] = {{1, 1, 1, 0}, {23, 31, 1, 0}, {3, 5, 1, 1},  {6, 4, 2, 1},
                             {6, 9, 3, 5}, {4, 4, 4, 0},   {16, 12, 4, 1}};

TEST_CASE("patches") {
  for (const WindowGrid& grid : kGrids) {
    for (const int patch : {1, 3, 7, 8, 14, 16, 17}) {
      for (const DType dtype : kDTypes) {
        CAPTURE(grid.height);
        CAPTURE(grid.windows);
        CAPTURE(patch);
        const int batch = 2, channels = 3;
        const std::size_t count = std::size_t(batch) * channels * grid.height * grid.width * patch * patch;
        const std::vector<float> pixels = random_floats(count, 7);
        const DeviceBuffer pixel_buffer(pixels, DType::f32),
            y(std::size_t(batch) * grid.tokens() * channels * patch * patch, dtype);
        cuda::patches({static_cast<const float*>(pixel_buffer.data()), y.data(), batch, channels, patch, grid, dtype},
                      nullptr);
        CHECK(y.is_guard_intact());
        CHECK(y.floats() == testing::rounded(reference::patches(pixels, batch, channels, patch, grid), dtype));
      }
    }
  }
}

TEST_CASE("windows_to_grid: units of 16, 4 and 2 bytes, and rows between other columns") {
  for (const WindowGrid& grid : kGrids) {
    const std::vector<int> patch_of_token = reference::patch_of_token(grid);
    for (const DType dtype : kDTypes) {
      for (const auto& [cols, gap] : {std::pair{16, 0}, {16, 8}, {6, 2}, {5, 0}, {1, 4}}) {
        const int batch = 2, tokens = grid.tokens(), area = grid.height * grid.width, stride = cols + gap;
        const DeviceBuffer x(random_floats(std::size_t(batch) * tokens * cols, 11), dtype),
            y(std::size_t(batch) * area * stride, dtype);
        cuda::windows_to_grid({x.data(), y.data(), batch, cols, stride, grid, dtype}, nullptr);
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
        CAPTURE(cols);
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("gather_rows: shared or not; an index outside gives zeros") {
  for (const bool shared : {false, true}) {
    for (const DType dtype : kDTypes) {
      for (const int cols : {17, 16, 4}) {
        const int batch = 3, x_rows = 197, rows = 65;
        const DeviceBuffer x(random_floats(std::size_t(shared ? 1 : batch) * x_rows * cols, 3), dtype),
            y(std::size_t(batch) * rows * cols, dtype);
        std::vector<std::int32_t> index(std::size_t(batch) * rows);
        for (std::size_t i = 0; i < index.size(); ++i) index[i] = static_cast<std::int32_t>(i * 89 % x_rows);
        index[0] = x_rows - 1;
        index[3] = -1;
        index[70] = x_rows;
        const DeviceArray<std::int32_t> index_array(index);
        cuda::gather_rows({x.data(), index_array.data(), y.data(), batch, x_rows, rows, cols, shared, dtype}, nullptr);
        CHECK(y.is_guard_intact());
        const std::vector<float> from = x.floats(), to = y.floats();
        std::size_t wrong = 0;
        for (std::size_t row = 0; row < index.size(); ++row) {
          const bool is_inside = index[row] >= 0 && index[row] < x_rows;
          const std::size_t source = (shared ? 0 : row / rows * x_rows) + static_cast<std::size_t>(index[row]);
          for (int c = 0; c < cols; ++c) wrong += to[row * cols + c] != (is_inside ? from[source * cols + c] : 0.0f);
        }
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("depth_to_space") {
  for (const DType dtype : kDTypes) {
    for (const int channels : {1, 2, 3, 8, 17}) {
      const DeviceBuffer x(random_floats(std::size_t(2) * 5 * 7 * 4 * channels, 9), dtype),
          y(std::size_t(2) * 5 * 7 * 4 * channels, dtype);
      cuda::depth_to_space({x.data(), y.data(), 2, 5, 7, channels, dtype}, nullptr);
      CHECK(y.floats() == reference::depth_to_space(x.floats(), 2, 5, 7, channels));
      CHECK(y.is_guard_intact());
    }
  }
}

TEST_CASE("rows: wrong arguments are errors; nothing to do is not") {
  CHECK_THROWS_AS(cuda::patches({nullptr, nullptr, 1, 1, 1, {3, 4, 2, 0}, DType::f32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::patches({nullptr, nullptr, 1, 1, 1, {1, 1, 1, 0}, DType::i64}, nullptr), Error);
  CHECK_THROWS_AS(cuda::windows_to_grid({nullptr, nullptr, 1, 4, 3, {1, 1, 1, 0}, DType::f32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::gather_rows({nullptr, nullptr, nullptr, 1, 0, 1, 1, true, DType::f32}, nullptr), Error);
  CHECK_THROWS_AS(cuda::depth_to_space({nullptr, nullptr, 1, 1, 1, 0, DType::f32}, nullptr), Error);
  cuda::gather_rows({nullptr, nullptr, nullptr, 2, 1, 0, 1, true, DType::f32}, nullptr);
  cuda::patches({nullptr, nullptr, 0, 1, 1, {1, 1, 1, 0}, DType::f32}, nullptr);
}

}  // namespace
}  // namespace vistazo
