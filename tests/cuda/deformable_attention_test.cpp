#include "kernels/deformable_attention.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/deformable_attention.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

using testing::DeviceBuffer;
using testing::random_floats;
using testing::relative_error;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16};

struct Shape {
  int batch, queries, heads, head_dim, points;  // points of the first level, one more in each further one
  std::vector<std::array<int, 2>> levels;       // height, width
  int extra_stride = 0;
};

// Owns the inputs of a call; boxes are in the image and partly over its border.
struct Problem {
  Problem(const Shape& shape, DType dtype)
      : reference(random_floats(std::size_t(shape.batch) * shape.queries * 4, 2, 0.5f, 0.3f)) {
    args.batch = shape.batch;
    args.queries = shape.queries;
    args.heads = shape.heads;
    args.head_dim = shape.head_dim;
    args.levels = static_cast<int>(shape.levels.size());
    args.value_row_stride = shape.heads * shape.head_dim + shape.extra_stride;
    args.dtype = dtype;
    std::size_t area = 0;
    for (std::size_t l = 0; l < shape.levels.size(); ++l) {
      args.level_height[l] = shape.levels[l][0];
      args.level_width[l] = shape.levels[l][1];
      args.level_points[l] = shape.points + static_cast<int>(l);
      area += std::size_t(shape.levels[l][0]) * shape.levels[l][1];
    }
    offset_logits = random_floats(
        std::size_t(shape.batch) * shape.queries * shape.heads * std::size_t(args.head_samples()) * 3, 3, 0.0f, 2.0f);
    value = testing::rounded(random_floats(shape.batch * area * args.value_row_stride, 1), dtype);
  }

  // Of the kernel, with the buffers misaligned by `skipped` elements.
  std::vector<float> run(std::size_t skipped = 0) const {
    std::vector<float> shifted(skipped, kNaN);
    shifted.insert(shifted.end(), value.begin(), value.end());
    const std::size_t out_size = std::size_t(args.batch) * args.queries * args.heads * args.head_dim;
    const DeviceBuffer value_buffer(shifted, args.dtype), reference_buffer(reference, DType::f32),
        offset_buffer(offset_logits, DType::f32), out(out_size + skipped, args.dtype);
    DeformableAttentionArgs on_device = args;
    on_device.value = value_buffer.at(skipped);
    on_device.reference = static_cast<const float*>(reference_buffer.data());
    on_device.offset_logits = static_cast<const float*>(offset_buffer.data());
    on_device.out = out.at(skipped);
    cuda::deformable_attention(on_device, nullptr);
    CHECK(out.is_guard_intact());
    auto found = out.floats();
    found.erase(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(skipped));
    return found;
  }

  template <typename T>
  std::vector<T> expected() const {
    DeformableAttentionArgs on_host = args;
    on_host.reference = reference.data();
    on_host.offset_logits = offset_logits.data();
    return reference::deformable_attention<T>(on_host, value);
  }

  std::vector<float> value, reference, offset_logits;
  DeformableAttentionArgs args{};
};

// Twice the plain loop's error, the rounding of the output, and of expf 2 units in the last place.
void check(const Problem& problem, std::size_t skipped = 0) {
  const auto expected = problem.expected<double>();
  const double plain = relative_error(problem.expected<float>(), expected);
  const DType dtype = problem.args.dtype;
  const double rounding = dtype == DType::f32 ? 0x1p-22 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
  CAPTURE(problem.args.head_dim);
  CAPTURE(problem.args.heads);
  CAPTURE(std::string(name_of(dtype)));
  CHECK(relative_error(problem.run(skipped), expected) <= 2 * plain + rounding);
}

TEST_CASE("deformable_attention: levels, points, head dimensions, strides and alignment") {
  std::vector<Shape> shapes = {
      {1, 300, 16, 16, 2, {{32, 32}}},
      {1, 65, 8, 32, 4, {{40, 40}, {20, 20}, {10, 10}}},
      {2, 17, 3, 24, 3, {{7, 5}, {1, 1}}, 13},
      {1, 3, 40, 8, 5, {{1, 9}, {9, 1}, {3, 3}, {2, 2}}},
      {3, 1, 1, 64, 1, {{577, 3}}},
  };
  for (const int head_dim : {1, 8, 12, 14, 17, 28, 48, 63}) {
    shapes.push_back({2, 9, 3, head_dim, 2, {{6, 11}, {3, 5}}, 1});
    shapes.push_back({2, 9, 4, head_dim, 2, {{6, 11}, {3, 5}}, 0});
  }
  for (const Shape& shape : shapes) {
    for (const DType dtype : kDTypes) {
      const Problem problem(shape, dtype);
      check(problem);
      check(problem, 1);
    }
  }
}

// No position of these problems is so near to a step that rounding takes it across: a sample of another cell would be
// off by more than any tolerance.
TEST_CASE("deformable_attention: the nearest cell of each sample") {
  const std::vector<Shape> shapes = {{1, 33, 8, 32, 4, {{40, 40}, {20, 20}, {10, 10}}},
                                     {2, 17, 3, 24, 3, {{7, 5}, {1, 1}}, 13},
                                     {1, 9, 40, 17, 5, {{1, 9}, {9, 1}}}};
  for (const Shape& shape : shapes) {
    for (const DType dtype : kDTypes) {
      Problem problem(shape, dtype);
      problem.args.takes_nearest = true;
      problem.offset_logits[1] = kNaN;
      problem.offset_logits[2] = -1e30f;
      problem.offset_logits[4] = kInfinity;
      check(problem);
    }
  }
}

TEST_CASE("deformable_attention: no position reads outside the map, whatever it is") {
  for (const DType dtype : kDTypes) {
    Problem problem({2, 33, 3, 16, 2, {{5, 4}, {2, 2}}}, dtype);
    const float bad[] = {kNaN, kInfinity, -kInfinity, 1e30f, -1e30f, 3e38f, -3e9f, 2147483648.0f, 1e-40f, 65536.0f};
    const std::size_t samples = 3 * (2 + 3);
    for (std::size_t row = 0; row < 66; ++row) {
      for (std::size_t i = 0; i < 2 * samples; i += 1 + row % 3) {
        problem.offset_logits[row * 3 * samples + i] = bad[(row + i) % 10];
      }
    }
    check(problem);
  }
}

TEST_CASE("deformable_attention: NaN in the map reaches only the samples that touch it") {
  Problem problem({1, 40, 2, 16, 1, {{4, 4}}}, DType::f32);
  for (std::size_t i = 0; i < problem.value.size(); ++i) {
    if (i / 32 % 4 == 3 || i / 32 / 4 == 3) problem.value[i] = kNaN;  // the last row and column of the map
  }
  const auto expected = problem.expected<double>();
  const auto found = problem.run();
  std::size_t wrong = 0, poisoned = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    wrong += std::isnan(expected[i]) ? !std::isnan(found[i]) : !(std::abs(found[i] - expected[i]) <= 1e-4);
    poisoned += std::isnan(expected[i]) ? 1 : 0;
  }
  CHECK(wrong == 0);
  CHECK(poisoned > 0);
  CHECK(poisoned < found.size());
}

TEST_CASE("deformable_attention: logits that hurt") {
  Problem problem({1, 5, 2, 4, 3, {{6, 6}}}, DType::f32);
  float* logits = problem.offset_logits.data() + 2 * 2 * 3;
  const std::size_t row = 3 * 2 * 3;
  logits[0] = 1e4f;                                                  // one dominates
  for (std::size_t i = 0; i < 3; ++i) logits[row + i] = -kInfinity;  // none
  logits[2 * row + 1] = kInfinity;
  logits[3 * row + 2] = kNaN;
  const auto found = problem.run();
  const auto expected = problem.expected<double>();
  for (std::size_t query = 0; query < 5; ++query) {
    for (std::size_t channel = 0; channel < 4; ++channel) {  // of head 0
      const std::size_t i = query * 8 + channel;
      if (query >= 1 && query <= 3) {
        CHECK(std::isnan(found[i]));
      } else {
        CHECK(std::abs(found[i] - expected[i]) <= 1e-4);
      }
    }
  }
}

TEST_CASE("deformable_attention: what it cannot do") {
  Problem problem({1, 1, 1, 4, 1, {{2, 2}}}, DType::f32);
  const auto throws = [&](auto&& change) {
    DeformableAttentionArgs args = problem.args;
    change(args);
    CHECK_THROWS_AS(cuda::deformable_attention(args, nullptr), Error);
  };
  throws([](auto& a) { a.dtype = DType::i32; });
  throws([](auto& a) { a.levels = 5; });
  throws([](auto& a) { a.value_row_stride = 3; });
  throws([](auto& a) { a.level_width[0] = 1 << 24; });
  throws([](auto& a) { a.level_points[0] = 0; });
}

}  // namespace
}  // namespace vistazo
