#include "kernels/logit_boxes.h"

#include <doctest/doctest.h>

#include <limits>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/reference/logit_boxes.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;
using testing::random_floats;
using testing::relative_error;

TEST_CASE("logit_boxes") {
  for (const int rows : {1, 3, 300, 1026}) {
    for (const int reference_rows : {rows, rows % 3 == 0 ? rows / 3 : 1}) {
      for (const bool is_logits : {false, true}) {
        CAPTURE(rows);
        // Boxes in the image, on its border and beyond it.
        auto reference = random_floats(static_cast<std::size_t>(reference_rows) * 4, 1, 0.5f, 0.3f);
        reference[0] = 0.0f;
        reference[1] = 1.0f;
        const auto delta = random_floats(static_cast<std::size_t>(rows) * 4, 2, 0.0f, 2.0f);
        GuardedBuffer y(delta.size(), DType::f32);
        cpu::logit_boxes({reference.data(), delta.data(), y.as<float>(), rows, reference_rows, is_logits},
                         ThreadPool(2));
        const auto expected = reference::logit_boxes<double>(reference, delta, is_logits);
        const double plain = relative_error(reference::logit_boxes<float>(reference, delta, is_logits), expected);
        CHECK(relative_error(y.floats(), expected) <= 2 * plain + 6e-8);
        CHECK(y.is_guard_intact());

        GuardedBuffer in_place(delta, DType::f32);
        cpu::logit_boxes(
            {reference.data(), in_place.as<float>(), in_place.as<float>(), rows, reference_rows, is_logits},
            ThreadPool(1));
        CHECK(in_place.floats() == y.floats());
      }
    }
  }
}

TEST_CASE("logit_boxes: an infinite logit is 1 whatever the delta") {
  const std::vector<float> reference(4, std::numeric_limits<float>::max()), delta = {-50.0f, 0.0f, 3.0f, -3.0f};
  float y[4];
  cpu::logit_boxes({reference.data(), delta.data(), y, 1, 1, true}, ThreadPool(1));
  for (const float value : y) CHECK(value == 1.0f);
  CHECK_THROWS_AS(cpu::logit_boxes({reference.data(), delta.data(), y, 1, 0, true}, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
