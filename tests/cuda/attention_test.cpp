#include "kernels/attention.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "kernels/base/error.h"
#include "tests/cuda/attention_paths.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/attention.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

using reference::AttentionShape;
using testing::dense_args;
using testing::DeviceBuffer;
using testing::pair_path_of;
using testing::Path;
using testing::paths_of;

constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16};

struct Inputs {
  std::vector<float> q, k, v;
};

// Normal values, exact in dtype. Other ones in every call.
Inputs random_inputs(const AttentionShape& s, DType dtype) {
  static unsigned seed = 1;
  const auto values = [&](std::size_t count) { return testing::rounded(testing::random_floats(count, seed++), dtype); };
  return {values(s.q_size()), values(s.k_size()), values(s.v_size())};
}

struct Expected {
  std::vector<double> out;
  double allowed;
};

// The tolerance is twice the error of a plain loop in f32 with weights rounded to dtype, plus the rounding of the
// output. In f32 also 2 units in the last place, the bound of CUDA's exp2f; in f16 and bf16 twice the plain loop's
// error without that rounding again, for tensor cores cut sums off where a processor rounds.
Expected expect(const Inputs& in, const AttentionShape& s, float scale, DType dtype) {
  Expected expected{reference::attention(in.q, in.k, in.v, s, scale), 0.0};
  const auto plain =
      reference::attention<float>(in.q, in.k, in.v, s, scale, [dtype](float p) { return testing::rounded(p, dtype); });
  expected.allowed = 2 * testing::relative_error(plain, expected.out);
  if (dtype == DType::f32) {
    expected.allowed += 0x1p-23 + 0x1p-22;
  } else {
    const auto unrounded = reference::attention<float>(in.q, in.k, in.v, s, scale);
    expected.allowed += 2 * testing::relative_error(unrounded, expected.out) + (dtype == DType::f16 ? 0x1p-11 : 0x1p-8);
  }
  return expected;
}

using Paths = std::vector<Path> (*)(const AttentionArgs&);

void check_against_reference(const Inputs& in, const AttentionShape& s, DType dtype, float scale,
                             Paths paths = paths_of) {
  const Expected expected = expect(in, s, scale, dtype);
  const DeviceBuffer q(in.q, dtype), k(in.k, dtype), v(in.v, dtype);
  AttentionArgs args = dense_args(s, q.data(), k.data(), v.data(), nullptr, dtype);
  args.scale = scale;
  for (const Path& path : paths(args)) {
    const DeviceBuffer out(s.out_size(), dtype);
    args.out = out.data();
    path.run(args);
    CAPTURE(std::string(name_of(dtype)));
    CAPTURE(fmt::format("B{} H{} {}x{} D{}/{}", s.batch, s.heads, s.queries, s.keys, s.head_dim, s.value_dim));
    CAPTURE(path.name);
    CHECK(testing::relative_error(out.floats(), expected.out) <= expected.allowed);
    CHECK(out.is_guard_intact());
  }
}

void check_against_reference(const AttentionShape& s, DType dtype, Paths paths = paths_of) {
  check_against_reference(random_inputs(s, dtype), s, dtype, 1.0f / std::sqrt(static_cast<float>(s.head_dim)), paths);
}

}  // namespace

TEST_CASE("attention: token counts that are multiples of nothing") {
  const AttentionShape shapes[] = {
      {1, 1, 1, 1, 64, 64},     {1, 2, 3, 17, 64, 64},    {2, 1, 17, 3, 64, 64},    {1, 2, 63, 65, 64, 64},
      {1, 1, 64, 64, 64, 64},   {1, 1, 128, 128, 64, 64}, {3, 2, 65, 63, 64, 64},   {1, 1, 197, 577, 64, 64},
      {1, 1, 577, 197, 32, 32}, {1, 1, 65, 1025, 64, 64}, {1, 1, 1025, 1, 16, 16},  {1, 1, 3, 4100, 64, 64},
      {3, 2, 300, 333, 64, 64}, {2, 3, 193, 300, 32, 32}, {1, 2, 2, 129, 128, 128},
  };
  for (const DType dtype : kDTypes) {
    for (const AttentionShape& shape : shapes) check_against_reference(shape, dtype);
  }
}

TEST_CASE("attention: windows are batch entries") {
  for (const DType dtype : kDTypes) check_against_reference({16, 3, 37, 37, 32, 32}, dtype);
}

TEST_CASE("attention: head dimensions") {
  for (const DType dtype : kDTypes) {
    for (const int dim : {1, 2, 3, 7, 8, 12, 14, 16, 24, 28, 31, 32, 48, 63, 64, 65, 80, 96, 127, 128}) {
      check_against_reference({1, 2, 37, 83, dim, dim}, dtype);
    }
    for (const auto& [qk, v] : {std::pair{32, 64}, {64, 32}, {1, 128}, {128, 1}, {24, 33}, {33, 24}, {16, 96}}) {
      check_against_reference({2, 2, 50, 130, qk, v}, dtype);
    }
  }
}

TEST_CASE("attention: two warpgroups that divide the keys") {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    SUBCASE("numbers of keys around those of tiles, stages and halves") {
      for (const int dim : {32, 64}) {
        for (const int keys : {1, 2, 31, 33, 63, 64, 65, 96, 97, 127, 128, 129, 192, 193, 325, 384, 385, 485, 1605}) {
          check_against_reference({1, 2, keys < 400 ? 65 : 7, keys, dim, dim}, dtype, pair_path_of);
        }
      }
    }
    SUBCASE("numbers of queries, heads and batch entries") {
      for (const int queries : {1, 63, 64, 127, 128, 129, 325}) {
        check_against_reference({queries < 128 ? 3 : 1, 3, queries, 145, 64, 64}, dtype, pair_path_of);
      }
    }
    SUBCASE("a key 80 above the others, in either half, in tiles computed first and last") {
      const AttentionShape shape{1, 1, 40, 485, 64, 64};
      for (const std::size_t key : {0u, 191u, 192u, 255u, 256u, 447u, 448u, 484u}) {
        Inputs in = random_inputs(shape, dtype);
        for (std::size_t i = 0; i < in.q.size(); ++i) in.q[i] = i % 64 == 0 ? 1.0f : in.q[i] * 0.125f;
        for (std::size_t j = 0; j < 485; ++j) in.k[j * 64] = j == key ? 640.0f : 0.0f;
        check_against_reference(in, shape, dtype, 0.125f, pair_path_of);
      }
    }
    SUBCASE("a half whose scores are too far below the other's to count") {
      for (const bool is_first_half : {true, false}) {
        const AttentionShape shape{1, 1, 40, 256, 32, 32};
        Inputs in = random_inputs(shape, dtype);
        for (std::size_t i = 0; i < in.q.size(); i += 32) in.q[i] = 8.0f;
        for (std::size_t j = 0; j < 256; ++j) in.k[j * 32] = (j < 128) == is_first_half ? -64.0f : 64.0f;
        check_against_reference(in, shape, dtype, 0.25f, pair_path_of);
      }
    }
  }
}

TEST_CASE("attention: scores that hurt") {
  const AttentionShape shape{1, 1, 40, 200, 32, 32};
  const float scale = 1.0f / std::sqrt(32.0f);
  for (const DType dtype : kDTypes) {
    SUBCASE("one key is 80 above the others, early, late or in the middle") {
      for (const std::size_t key : {0u, 70u, 199u}) {
        Inputs in = random_inputs(shape, dtype);
        for (std::size_t i = 0; i < in.q.size(); ++i) in.q[i] = i % 32 == 0 ? 1.0f : in.q[i] * 0.125f;
        // 80 * sqrt(32) = 452.5; exact in bf16.
        for (std::size_t j = 0; j < 200; ++j) in.k[j * 32] = j == key ? 452.0f : 0.0f;
        check_against_reference(in, shape, dtype, scale);
      }
    }
    SUBCASE("scores of magnitude 1e4") {
      Inputs in = random_inputs(shape, dtype);
      for (float& x : in.q) x *= 128.0f;
      for (float& x : in.k) x *= 64.0f;
      check_against_reference(in, shape, dtype, scale);
    }
    SUBCASE("all scores equal, and the weights thus 1 / keys") {
      Inputs in = random_inputs(shape, dtype);
      std::fill(in.k.begin(), in.k.end(), 0.5f);
      check_against_reference(in, shape, dtype, scale);
    }
    SUBCASE("all scores far below zero") {
      Inputs in = random_inputs(shape, dtype);
      std::fill(in.q.begin(), in.q.end(), 16.0f);
      for (float& x : in.k) x = testing::rounded(-64.0f + x, dtype);
      check_against_reference(in, shape, dtype, scale);
    }
    SUBCASE("scores that rise with the key, so that the maximum moves in every tile") {
      Inputs in = random_inputs(shape, dtype);
      std::fill(in.q.begin(), in.q.end(), 1.0f);
      for (std::size_t i = 0; i < in.k.size(); ++i) in.k[i] = static_cast<float>(i / 32) * 0.125f;
      check_against_reference(in, shape, dtype, scale);
    }
    SUBCASE("a negative scale, and none") {
      const Inputs in = random_inputs(shape, dtype);
      check_against_reference(in, shape, dtype, -0.5f);
      check_against_reference(in, shape, dtype, 0.0f);
    }
  }
}

TEST_CASE("attention: a constant value comes out exactly, for weights sum to one") {
  // In f16 and bf16, with weights rounded, only if the sum is that of the rounded weights. In f32 up to the roundings
  // of 700 additions.
  const AttentionShape shape{1, 1, 50, 700, 64, 64};
  for (const DType dtype : kDTypes) {
    Inputs in = random_inputs(shape, dtype);
    std::fill(in.v.begin(), in.v.end(), 3.0f);
    const DeviceBuffer q(in.q, dtype), k(in.k, dtype), v(in.v, dtype), out(shape.out_size(), dtype);
    const AttentionArgs args = dense_args(shape, q.data(), k.data(), v.data(), out.data(), dtype);
    for (const Path& path : paths_of(args)) {
      path.run(args);
      CAPTURE(std::string(name_of(dtype)));
      CAPTURE(path.name);
      CHECK(testing::max_difference(out.floats(), std::vector<float>(shape.out_size(), 3.0f)) <=
            (dtype == DType::f32 ? 3 * 700 * 0x1p-24 : 0.0));
    }
  }
}

// q in a packed (B, N, 3, H, D) projection; k and v side by side in another tensor with its own token count; padded
// output rows. `skipped` elements before each operand and `gap` more in each row set the alignment; gaps hold NaN.
static void check_packed(DType dtype, int head_dim, int value_dim, std::size_t skipped, std::size_t gap) {
  const AttentionShape s{2, 3, 33, 70, head_dim, value_dim};
  const std::size_t q_width = 3 * static_cast<std::size_t>(head_dim), v_width = 3 * static_cast<std::size_t>(value_dim),
                    q_row = 3 * q_width + gap, kv_row = q_width + v_width + gap, out_row = v_width + gap;
  const Inputs in = random_inputs(s, dtype);
  std::vector<float> q(skipped + 2 * 33 * q_row, NAN), kv(skipped + 2 * 70 * kv_row, NAN);
  for (std::size_t i = 0; i < in.q.size(); ++i) q[skipped + i / q_width * q_row + i % q_width] = in.q[i];
  for (std::size_t i = 0; i < in.k.size(); ++i) kv[skipped + i / q_width * kv_row + i % q_width] = in.k[i];
  for (std::size_t i = 0; i < in.v.size(); ++i) kv[skipped + i / v_width * kv_row + q_width + i % v_width] = in.v[i];
  const DeviceBuffer q_buffer(q, dtype), kv_buffer(kv, dtype);
  const Expected expected = expect(in, s, 0.2f, dtype);
  AttentionArgs args =
      dense_args(s, q_buffer.at(skipped), kv_buffer.at(skipped), kv_buffer.at(skipped + q_width), nullptr, dtype);
  args.q.row_stride = static_cast<std::int64_t>(q_row);
  args.k.row_stride = args.v.row_stride = static_cast<std::int64_t>(kv_row);
  args.out_row_stride = static_cast<std::int64_t>(out_row);
  args.q.batch_stride = 33 * args.q.row_stride;
  args.k.batch_stride = args.v.batch_stride = 70 * args.k.row_stride;
  args.out_batch_stride = 33 * args.out_row_stride;
  args.scale = 0.2f;
  CAPTURE(std::string(name_of(dtype)));
  CAPTURE(fmt::format("D{}/{}, {} skipped, gap {}", head_dim, value_dim, skipped, gap));
  for (const Path& path : paths_of(args)) {
    const DeviceBuffer out(skipped + 2 * 33 * out_row, dtype);
    args.out = out.at(skipped);
    path.run(args);
    CAPTURE(path.name);
    CHECK(out.is_guard_intact());
    std::vector<float> found;
    bool is_gap_untouched = true;
    const auto written = out.floats();
    for (std::size_t i = 0; i < written.size(); ++i) {
      if (i >= skipped && (i - skipped) % out_row < v_width)
        found.push_back(written[i]);
      else
        is_gap_untouched = is_gap_untouched && std::isnan(written[i]);
    }
    CHECK(is_gap_untouched);
    CHECK(testing::relative_error(found, expected.out) <= expected.allowed);
  }
}

TEST_CASE("attention: packed, strided and misaligned operands") {
  for (const DType dtype : kDTypes) {
    check_packed(dtype, 24, 40, 1, 7);   // every row misaligned
    check_packed(dtype, 24, 40, 2, 2);   // 4 bytes
    check_packed(dtype, 28, 14, 0, 0);   // 4 bytes, dimensions between the compiled ones
    check_packed(dtype, 64, 64, 0, 0);   // 16 bytes
    check_packed(dtype, 64, 64, 8, 16);  // 16 bytes, gaps of NaN
    check_packed(dtype, 32, 64, 0, 8);   // dimensions that differ
    check_packed(dtype, 24, 8, 8, 8);    // not all of the padded dimension
  }
}

TEST_CASE("attention: a row is bit-identical from run to run, and for any batch when the work is divided alike") {
  const AttentionShape shape{2, 2, 205, 333, 40, 24};
  for (const DType dtype : kDTypes) {
    const Inputs in = random_inputs(shape, dtype);
    const DeviceBuffer q(in.q, dtype), k(in.k, dtype), v(in.v, dtype);
    const AttentionArgs both = dense_args(shape, q.data(), k.data(), v.data(), nullptr, dtype);
    for (const Path& path : paths_of(both)) {
      CAPTURE(path.name);
      const DeviceBuffer out(shape.out_size(), dtype), again(shape.out_size(), dtype),
          alone(shape.out_size() / 2, dtype);
      AttentionArgs args = both;
      args.out = out.data();
      path.run(args);
      args.out = again.data();
      path.run(args);
      const auto whole = out.floats();
      CHECK(again.floats() == whole);
      if (path.name == "automatic") continue;
      args.batch = 1;
      args.q.data = q.at(shape.q_size() / 2);
      args.k.data = k.at(shape.k_size() / 2);
      args.v.data = v.at(shape.v_size() / 2);
      args.out = alone.data();
      path.run(args);
      CHECK(alone.floats() ==
            std::vector<float>(whole.begin() + static_cast<std::ptrdiff_t>(shape.out_size() / 2), whole.end()));
    }
  }
}

TEST_CASE("attention: NaN and infinity stay in their row or their batch entry") {
  const AttentionShape shape{2, 1, 30, 100, 24, 24};
  for (const DType dtype : kDTypes) {
    for (const float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      Inputs in = random_inputs(shape, dtype);
      const Expected expected = expect(in, shape, 0.25f, dtype);
      in.q[3 * 24 + 5] = poison;           // query 3 of entry 0
      in.k[(100 + 40) * 24 + 7] = poison;  // a key of entry 1
      in.v[(100 + 41) * 24 + 8] = poison;  // a value of entry 1
      const DeviceBuffer q(in.q, dtype), k(in.k, dtype), v(in.v, dtype);
      AttentionArgs args = dense_args(shape, q.data(), k.data(), v.data(), nullptr, dtype);
      args.scale = 0.25f;
      for (const Path& path : paths_of(args)) {
        CAPTURE(path.name);
        const DeviceBuffer out(shape.out_size(), dtype);
        args.out = out.data();
        path.run(args);
        CHECK(out.is_guard_intact());
        const auto found = out.floats();
        double error = 0.0;
        for (std::size_t i = 0; i < 30 * 24; ++i) {
          if (i / 24 != 3) error = std::fmax(error, std::isnan(found[i]) ? 1.0 : std::abs(found[i] - expected.out[i]));
        }
        CHECK(error < (dtype == DType::f32 ? 1e-5 : 5e-2));
        CHECK(std::isnan(found[3 * 24]));
      }
    }
  }
}

TEST_CASE("attention: what it cannot run is an error that names the value") {
  const auto message = [](const std::function<void(AttentionArgs&)>& change) {
    AttentionArgs args = dense_args({1, 1, 1, 1, 1, 1}, nullptr, nullptr, nullptr, nullptr, DType::f32);
    change(args);
    try {
      cuda::attention(args, nullptr);
    } catch (const Error& error) {
      CHECK(error.code == Error::Code::unsupported);
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(message([](AttentionArgs& a) { a.head_dim = 129; }).find("129") != std::string::npos);
  CHECK(message([](AttentionArgs& a) { a.head_dim = 0; }).find("head_dim is 0") != std::string::npos);
  CHECK(message([](AttentionArgs& a) { a.value_dim = 200; }).find("value_dim is 200") != std::string::npos);
  CHECK(message([](AttentionArgs& a) { a.keys = -1; }).find("keys is -1") != std::string::npos);
  CHECK(message([](AttentionArgs& a) { a.dtype = DType::i32; }).find("i32") != std::string::npos);
  const auto too_many = [](AttentionArgs& a) { a.batch = a.heads = 1 << 16; };
  CHECK(message(too_many).find("4294967296 blocks") != std::string::npos);
}

}  // namespace vistazo
