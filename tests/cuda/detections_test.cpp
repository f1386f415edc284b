#include "kernels/detections.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/base/error.h"
#include "tests/cuda/device_buffer.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

using testing::DeviceArray;
using testing::random_floats;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// As engine/postprocess.cpp chooses: a sort of all that pass.
std::vector<std::int32_t> best_pairs(const float* logits, int pairs, float min_logit, int most) {
  std::vector<std::int32_t> passed;
  for (std::int32_t i = 0; i < pairs; ++i) {
    if (logits[i] >= min_logit) passed.push_back(i);
  }
  std::ranges::stable_sort(passed, [&](std::int32_t a, std::int32_t b) { return logits[a] > logits[b]; });
  if (passed.size() > static_cast<std::size_t>(most)) passed.resize(static_cast<std::size_t>(most));
  return passed;
}

void check(const std::vector<float>& logits, int batch, int queries, int classes, int most, float min_logit) {
  CAPTURE(queries);
  CAPTURE(classes);
  CAPTURE(most);
  CAPTURE(min_logit);
  auto boxes = random_floats(std::size_t(batch) * queries * 4, 2, 0.5f, 0.2f);
  boxes[5] = kNaN;  // copied as it is
  const DeviceArray<float> logit_array(logits), box_array(boxes);
  const DeviceArray<DetectionCandidate> candidates(std::size_t(batch) * most);
  const DeviceArray<std::int32_t> count(static_cast<std::size_t>(batch));
  SelectDetectionsArgs args{
      logit_array.data(), box_array.data(), candidates.data(), count.data(), batch, queries, classes, most,
      min_logit,          nullptr};
  const DeviceArray<std::byte> scratch(cuda::select_detections_scratch_bytes(args));
  args.scratch = scratch.data();
  cuda::select_detections(args, nullptr);
  CHECK(candidates.is_guard_intact());
  CHECK(count.is_guard_intact());
  CHECK(scratch.is_guard_intact());
  const auto found = candidates.values();
  const auto counts = count.values();
  const std::size_t pairs = std::size_t(queries) * classes;
  std::size_t wrong = 0;
  for (std::size_t b = 0; b < std::size_t(batch); ++b) {
    const auto expected = best_pairs(&logits[b * pairs], static_cast<int>(pairs), min_logit, most);
    REQUIRE(counts[b] == static_cast<int>(expected.size()));
    for (std::size_t i = 0; i < std::size_t(most); ++i) {
      const DetectionCandidate& candidate = found[b * most + i];
      if (i >= expected.size()) {
        wrong += candidate.index != -1;  // not written
        continue;
      }
      const float* box = &boxes[(b * queries + static_cast<std::size_t>(expected[i] / classes)) * 4];
      wrong += candidate.index != expected[i];
      wrong += std::memcmp(&candidate.logit, &logits[b * pairs + static_cast<std::size_t>(expected[i])], 4) != 0;
      wrong += std::memcmp(candidate.box, box, sizeof(candidate.box)) != 0;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("select_detections: sizes, thresholds, counts") {
  const int shapes[][3] = {{1, 1, 1}, {2, 7, 3}, {3, 300, 91}, {1, 900, 365}, {2, 100, 1}, {1, 137, 30}};
  for (const auto& [batch, queries, classes] : shapes) {
    const auto logits = random_floats(std::size_t(batch) * queries * classes, 1, -4.0f, 2.0f);
    for (const int most : {1, 100, 300, 1000}) {
      if (most > 300 && queries == 900) continue;
      for (const float min_logit : {-kInfinity, -4.0f, 0.0f, 2.0f, 50.0f, kInfinity}) {
        check(logits, batch, queries, classes, most, min_logit);
      }
    }
  }
}

TEST_CASE("select_detections: ties, both zeros, NaN and infinities") {
  const int queries = 300, classes = 91;
  std::vector<float> logits(std::size_t(queries) * classes);
  const auto check_all = [&](auto&& logit_of) {
    for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = logit_of(static_cast<int>(i));
    for (const float min_logit : {-kInfinity, 0.0f}) check(logits, 1, queries, classes, 300, min_logit);
  };
  check_all([](int) { return 0.5f; });
  check_all([](int i) { return i % 3 ? 0.0f : -0.0f; });
  check_all([](int) { return kNaN; });
  check_all([](int i) { return i % 100 ? kNaN : kInfinity; });
  check_all([](int i) { return i % 2 ? -kInfinity : -1.0f; });
  check_all([](int i) { return static_cast<float>(i * 31 % 11); });
}

TEST_CASE("select_detections: what it cannot do") {
  SelectDetectionsArgs args{nullptr, nullptr, nullptr, nullptr, 1, 300, 91, 1025, 0.0f, nullptr};
  CHECK_THROWS_AS(cuda::select_detections(args, nullptr), Error);
  args.max_detections = 0;
  CHECK_THROWS_AS(cuda::select_detections(args, nullptr), Error);
  args.max_detections = 1;
  args.classes = 0;
  CHECK_THROWS_AS(cuda::select_detections_scratch_bytes(args), Error);
}

}  // namespace
}  // namespace vistazo
