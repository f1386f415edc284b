#include "kernels/boxes.h"

#include <doctest/doctest.h>
#include <vistazo/error.h>

#include "kernels/cpu/thread_pool.h"
#include "tests/reference/boxes.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;
using testing::random_floats;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST_CASE("refine_boxes") {
  const ThreadPool pool(2);
  for (const int rows : {1, 3, 300, 1025, 3075}) {
    for (const int delta_rows : {rows, rows % 3 == 0 ? rows / 3 : 1}) {
      CAPTURE(rows);
      const std::vector<float> reference = random_floats(std::size_t(rows) * 4, 1, 0.5f, 0.2f);
      const std::vector<float> delta = random_floats(std::size_t(delta_rows) * 4, 2, 0.0f, 2.0f);
      GuardedBuffer y(reference.size(), DType::f32);
      cpu::refine_boxes({reference.data(), delta.data(), y.as<float>(), rows, delta_rows}, pool);
      CHECK(y.is_guard_intact());
      const auto expected = reference::refine_boxes<double>(reference, delta);
      const double plain = testing::relative_error(reference::refine_boxes<float>(reference, delta), expected);
      CHECK(testing::relative_error(y.floats(), expected) <= 2 * plain + 6e-8);

      GuardedBuffer in_place(reference, DType::f32);
      cpu::refine_boxes({in_place.as<float>(), delta.data(), in_place.as<float>(), rows, delta_rows}, pool);
      CHECK(in_place.floats() == y.floats());
    }
  }
}

TEST_CASE("proposal_scores") {
  const ThreadPool pool(2);
  testing::for_each_simd_target([&] {
    for (const int classes : {1, 3, 17, 63, 91, 365}) {
      for (const int rows : {1, 65, 577}) {
        const int batch = 2;
        std::vector<float> logits = random_floats(std::size_t(batch) * rows * classes, 1, -5.0f);
        std::vector<float> proposals = random_floats(std::size_t(rows) * 4, 2, 0.5f, 0.1f);
        for (int i = 0; i < rows; i += 3) proposals[i * 4 + 2] = 0.0f;
        for (std::size_t i = 0; i < logits.size(); i += 7) logits[i] = i % 2 ? kNaN : -kInfinity;
        logits[logits.size() / 2] = kInfinity;
        GuardedBuffer scores(std::size_t(batch) * rows, DType::f32);
        cpu::proposal_scores({logits.data(), proposals.data(), scores.as<float>(), batch, rows, classes}, pool);
        CHECK(scores.is_guard_intact());
        CHECK(scores.floats() == reference::proposal_scores(logits, proposals, batch, rows, classes));
        cpu::proposal_scores({logits.data(), nullptr, scores.as<float>(), batch, rows, classes}, pool);
        const std::vector<float> all_valid(proposals.size(), 1.0f);
        CHECK(scores.floats() == reference::proposal_scores(logits, all_valid, batch, rows, classes));
      }
    }
  });
}

TEST_CASE("proposal_scores: a width that is no number is no width") {
  const float logits[3] = {1, 2, 3}, proposals[12] = {0, 0, kNaN, 1, 0, 0, -1, 1, 0, 0, 1e-30f, 0};
  float scores[3];
  cpu::proposal_scores({logits, proposals, scores, 1, 3, 1}, ThreadPool(1));
  CHECK(scores[0] == -kInfinity);
  CHECK(scores[1] == -kInfinity);
  CHECK(scores[2] == 3.0f);
  CHECK_THROWS_AS(cpu::proposal_scores({logits, proposals, scores, 1, 3, 0}, ThreadPool(1)), Error);
}

}  // namespace
}  // namespace vistazo
