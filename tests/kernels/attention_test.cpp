#include "kernels/attention.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/attention_paths.h"
#include "tests/reference/attention.h"
#include "tests/support/buffers.h"

namespace vistazo {
namespace {

using cpu::AttentionPath;
using reference::AttentionShape;
using testing::dense_args;
using testing::for_each_path;
using testing::GuardedBuffer;
using testing::run;

struct Inputs {
  std::vector<float> q, k, v;
};

// Normal values, exact in dtype.
Inputs random_inputs(const AttentionShape& s, DType dtype, unsigned seed = 1) {
  const auto values = [&](std::size_t count, unsigned offset) {
    return GuardedBuffer(testing::random_floats(count, seed + offset), dtype).floats();
  };
  return {values(s.q_size(), 0), values(s.k_size(), 100), values(s.v_size(), 200)};
}

// Twice the error of a plain loop in f32, in bf16 with weights rounded to it; plus the rounding of the output and, in
// f32, of its division by the sum, which is a reciprocal and a product.
double tolerance(const Inputs& in, const AttentionShape& s, float scale, DType dtype,
                 const std::vector<double>& expected) {
  const auto round = [dtype](float p) { return dtype == DType::f32 ? p : float_from_bf16(bf16_from_float(p)); };
  const auto plain = reference::attention<float>(in.q, in.k, in.v, s, scale, round);
  return 2 * testing::relative_error(plain, expected) + (dtype == DType::f32 ? 0x1p-23 : 0x1p-8);
}

void check_against_reference(const Inputs& in, const AttentionShape& s, DType dtype) {
  GuardedBuffer q(in.q, dtype), k(in.k, dtype), v(in.v, dtype);
  const float scale = dense_args(s, nullptr, nullptr, nullptr, nullptr, dtype).scale;
  const auto expected = reference::attention(in.q, in.k, in.v, s, scale);
  const double allowed = tolerance(in, s, scale, dtype, expected);
  for_each_path(dtype, [&](const std::string& name, AttentionPath path) {
    GuardedBuffer out(s.out_size(), dtype);
    run(dense_args(s, q.data(), k.data(), v.data(), out.data(), dtype), path);
    CAPTURE(name);
    CAPTURE(std::string(name_of(dtype)));
    CAPTURE(fmt::format("B{} H{} {}x{} D{}/{}", s.batch, s.heads, s.queries, s.keys, s.head_dim, s.value_dim));
    CHECK(testing::relative_error(out.floats(), expected) <= allowed);
    CHECK(out.is_guard_intact());
  });
}

constexpr DType kDTypes[] = {DType::f32, DType::bf16};

}  // namespace

TEST_CASE("attention: token counts that are multiples of nothing") {
  const AttentionShape shapes[] = {
      {1, 1, 1, 1, 64, 64},     {1, 2, 3, 17, 64, 64},    {2, 1, 17, 3, 64, 64},    {1, 2, 63, 65, 64, 64},
      {3, 2, 145, 145, 64, 64}, {1, 1, 197, 577, 64, 64}, {1, 1, 577, 197, 32, 32}, {1, 1, 65, 1025, 64, 64},
      {1, 1, 1025, 63, 64, 64}, {1, 1, 3, 4100, 64, 64},  {1, 1, 4100, 1, 16, 16},  {16, 3, 17, 17, 32, 32},
  };
  for (const DType dtype : kDTypes) {
    for (const AttentionShape& shape : shapes) check_against_reference(random_inputs(shape, dtype), shape, dtype);
  }
}

TEST_CASE("attention: head dimensions") {
  for (const DType dtype : kDTypes) {
    for (const int dim : {1, 2, 3, 7, 8, 12, 14, 16, 24, 28, 31, 32, 33, 48, 63, 64, 65, 80, 96, 127, 128}) {
      const AttentionShape shape{1, 2, 37, 83, dim, dim};
      check_against_reference(random_inputs(shape, dtype), shape, dtype);
    }
    for (const auto& [qk, v] : {std::pair{32, 64}, {64, 32}, {1, 128}, {128, 1}, {24, 33}, {33, 24}}) {
      const AttentionShape shape{2, 2, 50, 130, qk, v};
      check_against_reference(random_inputs(shape, dtype), shape, dtype);
    }
  }
}

TEST_CASE("attention: scores that hurt") {
  const AttentionShape shape{1, 1, 40, 200, 32, 32};
  const auto scaled = [](std::vector<float>& values, float factor) {
    for (float& x : values) x *= factor;
  };
  for (const DType dtype : kDTypes) {
    SUBCASE("one key is 80 above the others, early, late or in the middle") {
      for (const std::size_t key : {0u, 70u, 199u}) {
        Inputs in = random_inputs(shape, dtype);
        for (std::size_t i = 0; i < in.q.size(); ++i) in.q[i] = i % 32 == 0 ? 1.0f : in.q[i] * 0.125f;
        // 80 * sqrt(32) = 452.5; exact in bf16.
        for (std::size_t j = 0; j < 200; ++j) in.k[j * 32] = j == key ? 452.0f : 0.0f;
        check_against_reference(in, shape, dtype);
      }
    }
    SUBCASE("scores of magnitude 1e4") {
      Inputs in = random_inputs(shape, dtype);
      scaled(in.q, 128.0f);
      scaled(in.k, 64.0f);
      check_against_reference(in, shape, dtype);
    }
    SUBCASE("all scores equal, and the weights thus 1 / keys") {
      Inputs in = random_inputs(shape, dtype);
      std::fill(in.k.begin(), in.k.end(), 0.5f);
      check_against_reference(in, shape, dtype);
    }
    SUBCASE("all scores far below zero") {
      Inputs in = random_inputs(shape, dtype);
      std::fill(in.q.begin(), in.q.end(), 16.0f);
      for (float& x : in.k) x = float_from_bf16(bf16_from_float(-64.0f + x));
      check_against_reference(in, shape, dtype);
    }
    SUBCASE("scores that rise with the key, so that the maximum moves in every block") {
      Inputs in = random_inputs(shape, dtype);
      std::fill(in.q.begin(), in.q.end(), 1.0f);
      for (std::size_t i = 0; i < in.k.size(); ++i) in.k[i] = static_cast<float>(i / 32) * 0.125f;
      check_against_reference(in, shape, dtype);
    }
  }
}

TEST_CASE("attention: a constant value comes out exactly, for weights sum to one") {
  // In bf16, with weights rounded to it, only if the sum is that of the rounded weights.
  const AttentionShape shape{1, 1, 50, 700, 64, 64};
  for (const DType dtype : kDTypes) {
    Inputs in = random_inputs(shape, dtype);
    std::fill(in.v.begin(), in.v.end(), 3.0f);
    GuardedBuffer q(in.q, dtype), k(in.k, dtype), v(in.v, dtype);
    for_each_path(dtype, [&](const std::string& name, AttentionPath path) {
      GuardedBuffer out(shape.out_size(), dtype);
      run(dense_args(shape, q.data(), k.data(), v.data(), out.data(), dtype), path);
      CAPTURE(name);
      CHECK(testing::max_difference(out.floats(), std::vector<float>(shape.out_size(), 3.0f)) <=
            (dtype == DType::f32 ? 3e-6 : 0.0));
    });
  }
}

TEST_CASE("attention: packed, strided and misaligned operands") {
  // q in a packed (B, N, 3, H, D) projection; k and v side by side in another tensor with its own token count; padded
  // output rows. One element before each operand makes every row misaligned.
  const AttentionShape s{2, 3, 33, 70, 24, 40};
  const std::size_t q_row = 3 * 3 * 24 + 5, kv_row = 3 * (24 + 40) + 1, out_row = 3 * 40 + 7;
  for (const DType dtype : kDTypes) {
    const Inputs in = random_inputs(s, dtype);
    std::vector<float> q(1 + 2 * 33 * q_row, NAN), kv(1 + 2 * 70 * kv_row, NAN);
    for (std::size_t i = 0; i < in.q.size(); ++i) q[1 + i / 72 * q_row + i % 72] = in.q[i];
    for (std::size_t i = 0; i < in.k.size(); ++i) kv[1 + i / 72 * kv_row + i % 72] = in.k[i];
    for (std::size_t i = 0; i < in.v.size(); ++i) kv[1 + i / 120 * kv_row + 72 + i % 120] = in.v[i];
    GuardedBuffer q_buffer(q, dtype), kv_buffer(kv, dtype);
    const auto expected = reference::attention(in.q, in.k, in.v, s, 0.2f);
    const double allowed = tolerance(in, s, 0.2f, dtype, expected);
    for_each_path(dtype, [&](const std::string& name, AttentionPath path) {
      GuardedBuffer out(1 + 2 * 33 * out_row, dtype);
      const auto at = [&](GuardedBuffer& buffer, std::size_t element) {
        return static_cast<void*>(buffer.as<std::byte>() + element * size_of(dtype));
      };
      AttentionArgs args = dense_args(s, at(q_buffer, 1), at(kv_buffer, 1), at(kv_buffer, 73), at(out, 1), dtype);
      args.q.row_stride = static_cast<std::int64_t>(q_row);
      args.k.row_stride = args.v.row_stride = static_cast<std::int64_t>(kv_row);
      args.out_row_stride = static_cast<std::int64_t>(out_row);
      args.q.batch_stride = 33 * args.q.row_stride;
      args.k.batch_stride = args.v.batch_stride = 70 * args.k.row_stride;
      args.out_batch_stride = 33 * args.out_row_stride;
      args.scale = 0.2f;
      run(args, path);
      CAPTURE(name);
      CHECK(out.is_guard_intact());
      const auto written = out.floats();
      std::vector<float> found;
      bool is_gap_untouched = true;
      for (std::size_t i = 0; i < written.size(); ++i) {
        if (i >= 1 && (i - 1) % out_row < 120)
          found.push_back(written[i]);
        else
          is_gap_untouched = is_gap_untouched && std::isnan(written[i]);
      }
      CHECK(is_gap_untouched);
      CHECK(testing::relative_error(found, expected) <= allowed);
    });
  }
}

TEST_CASE("attention: a negative scale") {
  const AttentionShape shape{1, 1, 20, 90, 16, 16};
  for (const DType dtype : kDTypes) {
    const Inputs in = random_inputs(shape, dtype);
    GuardedBuffer q(in.q, dtype), k(in.k, dtype), v(in.v, dtype);
    const auto expected = reference::attention(in.q, in.k, in.v, shape, -2.0f);
    const double allowed = tolerance(in, shape, -2.0f, dtype, expected);
    for_each_path(dtype, [&](const std::string& name, AttentionPath path) {
      GuardedBuffer out(shape.out_size(), dtype);
      AttentionArgs args = dense_args(shape, q.data(), k.data(), v.data(), out.data(), dtype);
      args.scale = -2.0f;
      run(args, path);
      CAPTURE(name);
      CHECK(testing::relative_error(out.floats(), expected) <= allowed);
    });
  }
}

TEST_CASE("attention: a row is bit-identical for any threads, batch and neighbours") {
  const AttentionShape shape{2, 2, 605, 333, 40, 24};
  for (const DType dtype : kDTypes) {
    const Inputs in = random_inputs(shape, dtype);
    GuardedBuffer q(in.q, dtype), k(in.k, dtype), v(in.v, dtype);
    for_each_path(dtype, [&](const std::string& name, AttentionPath path) {
      CAPTURE(name);
      GuardedBuffer whole(shape.out_size(), dtype);
      const AttentionArgs args = dense_args(shape, q.data(), k.data(), v.data(), whole.data(), dtype);
      run(args, path, 1);
      const auto expected = whole.floats();
      for (const int threads : {1, 2, 3, 7}) {
        GuardedBuffer out(shape.out_size(), dtype);
        AttentionArgs again = args;
        again.out = out.data();
        run(again, path, threads);
        CHECK(out.floats() == expected);
      }
      // Rows 5 to 140 of batch entry 1 alone.
      const std::size_t skipped = (605 + 5) * 2, rows = 136 * 2;
      GuardedBuffer part(rows * 24, dtype);
      AttentionArgs alone = args;
      alone.batch = 1;
      alone.queries = 136;
      alone.q.data = q.as<std::byte>() + skipped * 40 * size_of(dtype);
      alone.k.data = k.as<std::byte>() + shape.k_size() / 2 * size_of(dtype);
      alone.v.data = v.as<std::byte>() + shape.v_size() / 2 * size_of(dtype);
      alone.out = part.data();
      run(alone, path);
      const auto first = expected.begin() + static_cast<std::ptrdiff_t>(skipped * 24);
      CHECK(part.floats() == std::vector<float>(first, first + static_cast<std::ptrdiff_t>(rows * 24)));
    });
  }
}

TEST_CASE("attention: NaN and infinity stay in their row or their batch entry, and nothing hangs") {
  const AttentionShape shape{2, 1, 30, 100, 24, 24};
  for (const DType dtype : kDTypes) {
    for (const float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      const Inputs in = random_inputs(shape, dtype);
      Inputs hurt = in;
      hurt.q[3 * 24 + 5] = poison;           // query 3 of entry 0
      hurt.k[(100 + 40) * 24 + 7] = poison;  // a key of entry 1
      hurt.v[(100 + 41) * 24 + 8] = poison;  // a value of entry 1
      const auto expected = reference::attention(in.q, in.k, in.v, shape, 0.25f);
      for_each_path(dtype, [&](const std::string& name, AttentionPath path) {
        CAPTURE(name);
        GuardedBuffer q(hurt.q, dtype), k(hurt.k, dtype), v(hurt.v, dtype), out(shape.out_size(), dtype);
        AttentionArgs args = dense_args(shape, q.data(), k.data(), v.data(), out.data(), dtype);
        args.scale = 0.25f;
        run(args, path);
        CHECK(out.is_guard_intact());
        const auto found = out.floats();
        for (std::size_t i = 0; i < 30 * 24; ++i) {
          if (i / 24 != 3) CHECK(std::abs(found[i] - expected[i]) < (dtype == DType::f32 ? 1e-5 : 5e-2));
        }
        // Highway's fallbacks for processors without vectors take the maximum of a NaN and a number to be the number.
        if (name != "simd SCALAR" && name != "simd EMU128") CHECK(std::isnan(found[3 * 24]));
      });
    }
  }
}

TEST_CASE("attention: what it cannot run is an error that names the value") {
  float value[4] = {};
  const ThreadPool pool(1);
  const auto message = [&](const std::function<void(AttentionArgs&)>& change, AttentionPath path) {
    AttentionArgs args = dense_args({1, 1, 1, 1, 1, 1}, value, value + 1, value + 2, value + 3, DType::f32);
    AlignedBuffer scratch(cpu::attention_scratch_bytes(args, pool));
    args.scratch = scratch.data();
    change(args);
    try {
      cpu::attention(args, pool, path);
    } catch (const Error& error) {
      CHECK(error.code == Error::Code::unsupported);
      return std::string(error.what());
    }
    return std::string();
  };
  const auto automatic = AttentionPath::automatic;
  CHECK(message([](AttentionArgs&) {}, automatic).empty());
  CHECK(message([](AttentionArgs& a) { a.head_dim = 129; }, automatic).find("129") != std::string::npos);
  CHECK(message([](AttentionArgs& a) { a.head_dim = 0; }, automatic).find("head_dim is 0") != std::string::npos);
  CHECK(message([](AttentionArgs& a) { a.value_dim = 200; }, automatic).find("value_dim is 200") != std::string::npos);
  CHECK(message([](AttentionArgs& a) { a.keys = -1; }, automatic).find("keys is -1") != std::string::npos);
  CHECK(message([](AttentionArgs& a) { a.dtype = DType::f16; }, automatic).find("f16") != std::string::npos);
  CHECK(message([](AttentionArgs&) {}, AttentionPath::amx).find("amx") != std::string::npos);
}

TEST_CASE("attention: scratch does not grow with tokens") {
  AttentionArgs args = dense_args({1, 6, 145, 145, 64, 64}, nullptr, nullptr, nullptr, nullptr, DType::f32);
  for (const DType dtype : kDTypes) {
    args.dtype = dtype;
    for (const int threads : {1, 64}) {
      const ThreadPool pool(threads);
      args.queries = args.keys = 145;
      const std::size_t small = cpu::attention_scratch_bytes(args, pool);
      args.queries = args.keys = 65536;
      CHECK(cpu::attention_scratch_bytes(args, pool) <= std::max(small, static_cast<std::size_t>(threads) << 20));
    }
  }
}

}  // namespace vistazo
