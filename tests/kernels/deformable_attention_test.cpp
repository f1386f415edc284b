#include "kernels/deformable_attention.h"

#include <doctest/doctest.h>
#include <vistazo/error.h>

#include <array>
#include <limits>

#include "kernels/cpu/thread_pool.h"
#include "tests/reference/deformable_attention.h"
#include "tests/support/buffers.h"
#include "tests/support/simd_targets.h"
#include "tests/support/stored_tensors.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;
using testing::random_floats;
using testing::relative_error;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Shape {
  int batch, queries, heads, head_dim;
  std::vector<int> points;                 // of each level; the last repeats
  std::vector<std::array<int, 2>> levels;  // height, width
  int extra_stride = 0;

  int level_points(std::size_t level) const { return points[std::min(level, points.size() - 1)]; }
  std::size_t head_samples() const {
    std::size_t samples = 0;
    for (std::size_t l = 0; l < levels.size(); ++l) samples += static_cast<std::size_t>(level_points(l));
    return samples;
  }
};

// Owns the inputs of a call; boxes are in the image and partly over its border.
struct Problem {
  Problem(const Shape& shape, DType dtype)
      : value(random_values(shape), dtype),
        reference(random_floats(std::size_t(shape.batch) * shape.queries * 4, 2, 0.5f, 0.3f)),
        offset_logits(random_floats(std::size_t(shape.batch) * shape.queries * shape.heads * shape.head_samples() * 3,
                                    3, 0.0f, 2.0f)),
        out(std::size_t(shape.batch) * shape.queries * shape.heads * shape.head_dim, dtype) {
    args = {value.data(),
            reference.data(),
            offset_logits.data(),
            out.data(),
            shape.batch,
            shape.queries,
            shape.heads,
            shape.head_dim,
            static_cast<int>(shape.levels.size()),
            {},
            {},
            {},
            shape.heads * shape.head_dim + shape.extra_stride,
            dtype};
    for (std::size_t l = 0; l < shape.levels.size(); ++l) {
      args.level_points[l] = shape.level_points(l);
      args.level_height[l] = shape.levels[l][0];
      args.level_width[l] = shape.levels[l][1];
    }
  }

  static std::vector<float> random_values(const Shape& shape) {
    std::size_t area = 0;
    for (const auto& level : shape.levels) area += std::size_t(level[0]) * level[1];
    return random_floats(shape.batch * area * (shape.heads * shape.head_dim + shape.extra_stride), 1);
  }

  GuardedBuffer value;
  std::vector<float> reference, offset_logits;
  GuardedBuffer out;
  DeformableAttentionArgs args;
};

TEST_CASE("deformable_attention") {
  std::vector<Shape> shapes = {
      {1, 300, 16, 16, {2}, {{32, 32}}},
      {1, 65, 8, 32, {3, 6, 3}, {{40, 40}, {20, 20}, {10, 10}}},
      {2, 17, 3, 24, {3}, {{7, 5}, {1, 1}}, 13},
      {1, 3, 40, 8, {5}, {{1, 9}, {9, 1}, {3, 3}, {2, 2}}},  // two blocks of heads
      {3, 1, 1, 64, {1}, {{577, 3}}},
      {1, 9, 41, 8, {1, 4, 2}, {{5, 4}, {3, 3}, {2, 2}}},
  };
  for (const int head_dim : {1, 8, 12, 14, 17, 28, 48, 63})
    shapes.push_back({2, 9, 3, head_dim, {4, 2}, {{6, 11}, {3, 5}}, 1});
  testing::for_each_simd_target([&] {
    for (const Shape& shape : shapes) {
      CAPTURE(shape.head_dim);
      CAPTURE(shape.heads);
      for (const DType dtype : {DType::f32, DType::bf16}) {
        Problem problem(shape, dtype);
        cpu::deformable_attention(problem.args, ThreadPool(2));
        CHECK(problem.out.is_guard_intact());
        const auto value = problem.value.floats();
        const auto expected = reference::deformable_attention<double>(problem.args, value);
        const double plain = relative_error(reference::deformable_attention<float>(problem.args, value), expected);
        const double rounding = dtype == DType::f32 ? 6e-8 : 0x1p-8;
        CHECK(relative_error(problem.out.floats(), expected) <= 2 * plain + rounding);
      }
    }
  });
}

// No position of these problems is so near to a step that rounding takes it across: a sample of another cell would be
// off by more than any tolerance.
TEST_CASE("deformable_attention: the nearest cell of each sample") {
  const std::vector<Shape> shapes = {{1, 33, 8, 32, {4, 6, 3}, {{40, 40}, {20, 20}, {10, 10}}},
                                     {2, 17, 3, 24, {3}, {{7, 5}, {1, 1}}, 13},
                                     {1, 9, 40, 17, {5, 1}, {{1, 9}, {9, 1}}}};
  testing::for_each_simd_target([&] {
    for (const Shape& shape : shapes) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        Problem problem(shape, dtype);
        problem.args.takes_nearest = true;
        problem.offset_logits[1] = kNaN;
        problem.offset_logits[2] = -1e30f;
        problem.offset_logits[4] = kInfinity;
        cpu::deformable_attention(problem.args, ThreadPool(2));
        CHECK(problem.out.is_guard_intact());
        const auto expected = reference::deformable_attention<double>(problem.args, problem.value.floats());
        CHECK(relative_error(problem.out.floats(), expected) <= (dtype == DType::f32 ? 1e-6 : 0x1p-8));
      }
    }
  });
}

TEST_CASE("deformable_attention agrees with PyTorch") {
  const testing::StoredTensors stored("msda/msda.safetensors");
  const auto locations = stored.read<float>("sampling_locations");  // (B, Q, H, L, P, 2)
  const auto weights = stored.read<float>("attention_weights");     // (B, Q, H, L, P), after softmax
  const auto level_sizes = stored.read<std::int32_t>("spatial_shapes");
  const int batch = stored.size("value", 0), heads = stored.size("value", 2), head_dim = stored.size("value", 3);
  const int queries = stored.size("output", 1), levels = stored.size("attention_weights", 3);
  const int points = stored.size("attention_weights", 4);

  // A reference of the whole image makes an offset of (location - 1/2) * 2 * points that location.
  const std::size_t rows = std::size_t(batch) * queries, samples = std::size_t(heads) * levels * points;
  std::vector<float> reference, offset_logits;
  for (std::size_t row = 0; row < rows; ++row) {
    reference.insert(reference.end(), {0.5f, 0.5f, 1.0f, 1.0f});
    for (std::size_t i = 0; i < 2 * samples; ++i) {
      offset_logits.push_back((locations[row * 2 * samples + i] - 0.5f) * 2.0f * static_cast<float>(points));
    }
    for (std::size_t i = 0; i < samples; ++i) offset_logits.push_back(std::log(weights[row * samples + i]));
  }
  const auto value = stored.read<float>("value");
  testing::for_each_simd_target([&] {
    GuardedBuffer out(rows * heads * head_dim, DType::f32);
    DeformableAttentionArgs args = {value.data(),
                                    reference.data(),
                                    offset_logits.data(),
                                    out.data(),
                                    batch,
                                    queries,
                                    heads,
                                    head_dim,
                                    levels,
                                    {},
                                    {},
                                    {},
                                    heads * head_dim,
                                    DType::f32};
    for (int l = 0; l < levels; ++l) {
      args.level_points[l] = points;
      args.level_height[l] = level_sizes[2 * l];
      args.level_width[l] = level_sizes[2 * l + 1];
    }
    cpu::deformable_attention(args, ThreadPool(1));
    // Positions of up to 10 pixels round by 1e-6, values are about 1.
    CHECK(testing::max_difference(out.floats(), stored.read<float>("output")) <= 5e-6);
  });
}

TEST_CASE("deformable_attention: no position reads outside the map") {
  testing::for_each_simd_target([] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      Problem problem({2, 33, 3, 17, {2}, {{5, 4}, {2, 2}}}, dtype);
      const float bad[] = {kNaN, kInfinity, -kInfinity, 1e30f, -1e30f, 3e38f, -3e9f, 2147483648.0f, 1e-40f, 65536.0f};
      const int samples = 3 * 2 * 2;
      for (int row = 0; row < 2 * 33; ++row) {
        for (int i = row % 3; i < 2 * samples; i += 3)
          problem.offset_logits[row * samples * 3 + i] = bad[(i + row) % 10];
        if (row % 5 == 0) problem.reference[row * 4 + row % 4] = bad[row % 10];
      }
      cpu::deformable_attention(problem.args, ThreadPool(2));
      const auto value = problem.value.floats();
      const auto expected = reference::deformable_attention<double>(problem.args, value);
      const double plain = relative_error(reference::deformable_attention<float>(problem.args, value), expected);
      CHECK(relative_error(problem.out.floats(), expected) <= 2 * plain + (dtype == DType::f32 ? 6e-8 : 0x1p-8));
    }
  });
}

TEST_CASE("deformable_attention: positions at the border, one dominant logit, NaN in a row that no sample touches") {
  testing::for_each_simd_target([] {
    // One head of one channel on a 2 x 2 map of 1, 2, 3, NaN; the point lies at (x, y) in pixels.
    const float value[4] = {1.0f, 2.0f, 3.0f, kNaN};
    const auto sample = [&](float x, float y) {
      const float reference[4] = {(x + 0.5f) / 2, (y + 0.5f) / 2, 1.0f, 1.0f}, offset_logits[3] = {0.0f, 0.0f, 80.0f};
      float out = kNaN;
      cpu::deformable_attention({value, reference, offset_logits, &out, 1, 1, 1, 1, 1, {1}, {2}, {2}, 1, DType::f32},
                                ThreadPool(1));
      return out;
    };
    CHECK(sample(-0.5f, 0.0f) == 0.5f);
    CHECK(sample(0.5f, -0.5f) == 0.75f);
    CHECK(sample(-1.0f, 0.0f) == 0.0f);
    CHECK(sample(2.0f, -0.5f) == 0.0f);  // left of it is outside too
    CHECK(sample(1.5f, -0.5f) == 0.5f);
    CHECK(std::isnan(sample(0.5f, 0.5f)));

    Problem problem({1, 5, 2, 16, {4}, {{8, 8}}}, DType::f32);
    for (int i = 0; i < 5; ++i) problem.offset_logits[i * 24 + 16 + 3] = 500.0f;
    cpu::deformable_attention(problem.args, ThreadPool(1));
    const auto expected = reference::deformable_attention<double>(problem.args, problem.value.floats());
    CHECK(relative_error(problem.out.floats(), expected) <= 1e-6);
    problem.offset_logits[16] = kNaN;  // of head 0 of query 0
    cpu::deformable_attention(problem.args, ThreadPool(1));
    CHECK(std::isnan(problem.out.floats()[0]));
    CHECK(std::isfinite(problem.out.floats()[16]));
  });
}

TEST_CASE("deformable_attention: wrong arguments are named") {
  Problem problem({1, 1, 1, 4, {1}, {{2, 2}}}, DType::f32);
  const auto throws = [&](auto change) {
    DeformableAttentionArgs args = problem.args;
    change(args);
    CHECK_THROWS_AS(cpu::deformable_attention(args, ThreadPool(1)), Error);
  };
  throws([](auto& args) { args.levels = 5; });
  throws([](auto& args) { args.level_width[0] = 0; });
  throws([](auto& args) { args.value_row_stride = 3; });
  throws([](auto& args) { args.level_points[0] = 1000; });
  throws([](auto& args) { args.level_points[0] = 0; });
  throws([](auto& args) { args.dtype = DType::i32; });
}

}  // namespace
}  // namespace vistazo
