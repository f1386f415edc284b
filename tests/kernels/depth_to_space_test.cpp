#include "kernels/depth_to_space.h"

#include <doctest/doctest.h>

#include "kernels/cpu/thread_pool.h"
#include "tests/reference/depth_to_space.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

TEST_CASE("depth_to_space moves every value to its place") {
  struct Sizes {
    int batch, height, width, channels;
  };
  for (const Sizes& s : {Sizes{1, 1, 1, 1}, Sizes{2, 3, 5, 17}, Sizes{1, 7, 1, 65}, Sizes{3, 1, 9, 24}}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const auto count = static_cast<std::size_t>(4 * s.batch * s.height * s.width * s.channels);
      testing::GuardedBuffer x(testing::random_floats(count, 5), dtype), y(count, dtype);
      cpu::depth_to_space({x.data(), y.data(), s.batch, s.height, s.width, s.channels, dtype}, ThreadPool(3));
      CHECK(y.floats() == reference::depth_to_space(x.floats(), s.batch, s.height, s.width, s.channels));
      CHECK(y.is_guard_intact());
    }
  }
}

}  // namespace
}  // namespace vistazo
