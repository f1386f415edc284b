#include "kernels/sine_embedding.h"

#include <doctest/doctest.h>
#include <vistazo/error.h>

#include <limits>

#include "kernels/cpu/thread_pool.h"
#include "tests/reference/sine_embedding.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"
#include "tests/support/stored_tensors.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;
using testing::max_difference;

std::vector<float> embed(const std::vector<float>& boxes, int dim, float temperature, DType dtype) {
  GuardedBuffer y(boxes.size() * dim, dtype);
  const auto rows = static_cast<std::int64_t>(boxes.size() / 4);
  cpu::sine_embedding({boxes.data(), y.data(), rows, dim, temperature, dtype}, ThreadPool(2));
  CHECK(y.is_guard_intact());
  return y.floats();
}

TEST_CASE("sine_embedding") {
  testing::for_each_simd_target([] {
    for (const int dim : {2, 6, 34, 64, 128, 130, 602}) {
      for (const int rows : {1, 3, 17, 65}) {
        for (const float deviation : {0.3f, 50.0f}) {  // boxes in the image, and far beyond it
          CAPTURE(dim);
          CAPTURE(deviation);
          const std::vector<float> boxes = testing::random_floats(std::size_t(rows) * 4, dim, 0.5f, deviation);
          const auto expected = reference::sine_embedding<double>(boxes, dim, 10000.0f);
          const double plain = max_difference(reference::sine_embedding<float>(boxes, dim, 10000.0f), expected);
          CHECK(max_difference(embed(boxes, dim, 10000.0f, DType::f32), expected) <= 2 * plain + 6e-8);
          // bf16 has 8 bits: values below 1 round by at most 2^-9.
          CHECK(max_difference(embed(boxes, dim, 10000.0f, DType::bf16), expected) <= 2 * plain + 0x1p-9);
        }
      }
    }
  });
}

TEST_CASE("sine_embedding: huge and non-finite coordinates are those of the C library") {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> boxes = {1e30f, -1e4f, 0.0f, -0.0f, infinity, -infinity, 954.0f, 955.0f};
  testing::for_each_simd_target([&] {
    const std::vector<float> y = embed(boxes, 64, 20.0f, DType::f32);
    const std::vector<float> expected = reference::sine_embedding<float>(boxes, 64, 20.0f);
    for (std::size_t i = 0; i < y.size(); ++i) {
      CAPTURE(i);
      CHECK(std::isnan(y[i]) == std::isnan(expected[i]));
      if (!std::isnan(expected[i])) CHECK(std::abs(y[i] - expected[i]) <= 2e-7f);
    }
  });
}

TEST_CASE("sine_embedding agrees with PyTorch") {
  const testing::StoredTensors stored("sine/sine.safetensors");
  testing::for_each_simd_target([&] {
    for (const int dim : {64, 128}) {
      const std::vector<float> y = embed(stored.read<float>("reference_points"), dim, 10000.0f, DType::f32);
      // Both round angles of up to 2 pi twice (2 * 2.4e-7) and a divisor, in another order.
      CHECK(max_difference(y, stored.read<float>(dim == 64 ? "embedding_d128" : "embedding_d256")) <= 1e-6);
    }
  });
}

TEST_CASE("sine_embedding: wrong arguments are named") {
  float value[8] = {};
  CHECK_THROWS_AS(cpu::sine_embedding({value, value, 1, 3, 10000.0f, DType::f32}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::sine_embedding({value, value, 1, 2, 0.0f, DType::f32}, ThreadPool(1)), Error);
  CHECK_THROWS_AS(cpu::sine_embedding({value, value, 1, 2, 10000.0f, DType::u8}, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
