// Attention that rotates q and k: it must give the bits of attention to tensors that were rotated before, on every
// path.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/base/error.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/attention_paths.h"
#include "tests/reference/attention.h"
#include "tests/reference/rope.h"
#include "tests/support/buffers.h"
#include "tests/support/rope_tables.h"
#include "tests/support/strided.h"

namespace vistazo {
namespace {

using cpu::AttentionPath;
using testing::GuardedBuffer;

constexpr DType kDTypes[] = {DType::f32, DType::bf16};

struct Case {
  int batch, heads, tokens, dim, prefix, width;
  int gap = 0;  // behind every row
};

std::vector<float> rounded(const std::vector<float>& values, DType dtype) {
  return GuardedBuffer(values, dtype).floats();
}

template <typename Real>
std::vector<Real> rotated(const Case& c, const std::vector<float>& table, const std::vector<float>& x) {
  return reference::rope<Real>({c.batch, c.tokens, c.heads, c.dim, c.prefix}, table, x);
}

// Normal values of 8 bits: see testing::rope_table().
std::vector<float> random_tokens(const Case& c, unsigned seed) {
  return rounded(testing::random_floats(static_cast<std::size_t>(c.batch * c.tokens * c.heads * c.dim), seed),
                 DType::bf16);
}

struct Rows {
  GuardedBuffer q, k, v;
  Rows(const Case& c, const std::vector<float>& q_values, const std::vector<float>& k_values,
       const std::vector<float>& v_values, DType dtype)
      : q(testing::spread_rows(q_values, c.heads * c.dim, c.gap), dtype),
        k(testing::spread_rows(k_values, c.heads * c.dim, c.gap), dtype),
        v(testing::spread_rows(v_values, c.heads * c.dim, c.gap), dtype) {}

  std::vector<float> attend(const Case& c, DType dtype, AttentionPath path, const AttentionRope& rope) {
    const reference::AttentionShape shape{c.batch, c.heads, c.tokens, c.tokens, c.dim, c.dim};
    GuardedBuffer out(shape.out_size(), dtype);
    AttentionArgs args = testing::dense_args(shape, q.data(), k.data(), v.data(), out.data(), dtype);
    for (AttentionOperand* x : {&args.q, &args.k, &args.v}) {
      x->row_stride += c.gap;
      x->batch_stride = c.tokens * x->row_stride;
    }
    args.rope = rope;
    testing::run(args, path);
    CHECK(out.is_guard_intact());
    return out.floats();
  }
};

void check(const Case& c, DType dtype) {
  const auto q = random_tokens(c, 1), k = random_tokens(c, 2), v = random_tokens(c, 3);
  const auto table = testing::rope_table(c.tokens - c.prefix, c.dim, c.width);
  Rows rows(c, q, k, v, dtype);
  Rows turned(c, rounded(rotated<float>(c, table, q), dtype), rounded(rotated<float>(c, table, k), dtype), v, dtype);
  GuardedBuffer entries(table, DType::f32);
  const AttentionRope rope{entries.as<float>(), c.prefix};
  CAPTURE(std::string(name_of(dtype)));
  CAPTURE(fmt::format("B{} H{} N{} D{} prefix {} width {} gap {}", c.batch, c.heads, c.tokens, c.dim, c.prefix, c.width,
                      c.gap));
  testing::for_each_path(dtype, [&](const std::string& name, AttentionPath path) {
    CAPTURE(name);
    CHECK(testing::max_difference(rows.attend(c, dtype, path, rope), turned.attend(c, dtype, path, {})) == 0.0);
  });
}

}  // namespace

TEST_CASE("attention with a rope: tokens that are multiples of nothing, prefixes, strides") {
  for (const DType dtype : kDTypes) {
    for (const Case& c : {Case{1, 2, 1, 64, 0, 0}, Case{1, 1, 1, 64, 1, 0}, Case{1, 2, 17, 64, 5, 4},
                          Case{2, 3, 65, 64, 1, 16, 128}, Case{1, 3, 197, 64, 5, 24, 5}, Case{3, 1, 130, 32, 1, 43},
                          Case{1, 1, 645, 64, 5, 0, 1}, Case{1, 1, 64, 64, 64, 0}}) {
      check(c, dtype);
    }
  }
}

TEST_CASE("attention with a rope: head dimensions") {
  for (const DType dtype : kDTypes) {
    for (const int dim : {2, 4, 6, 14, 16, 28, 32, 34, 48, 62, 64, 66, 80, 96, 126, 128}) {
      check({1, 2, 53, dim, 3, 0}, dtype);
    }
  }
}

TEST_CASE("attention with a rope: against double precision") {
  const Case c{2, 2, 165, 64, 5, 16};
  const auto table = testing::rope_table(c.tokens - c.prefix, c.dim, c.width, 0x1p-24f);
  const reference::AttentionShape shape{c.batch, c.heads, c.tokens, c.tokens, c.dim, c.dim};
  const float scale = 1.0f / 8;
  for (const DType dtype : kDTypes) {
    const auto q = random_tokens(c, 1), k = random_tokens(c, 2), v = random_tokens(c, 3);
    const auto single = [](const std::vector<double>& x) { return std::vector<float>(x.begin(), x.end()); };
    const auto expected = reference::attention(single(rotated<double>(c, table, q)),
                                               single(rotated<double>(c, table, k)), v, shape, scale);
    const auto plain = reference::attention<float>(
        rounded(rotated<float>(c, table, q), dtype), rounded(rotated<float>(c, table, k), dtype), v, shape, scale,
        [dtype](float p) { return dtype == DType::f32 ? p : float_from_bf16(bf16_from_float(p)); });
    const double allowed = 2 * testing::relative_error(plain, expected) + (dtype == DType::f32 ? 0x1p-23 : 0x1p-8);
    Rows rows(c, q, k, v, dtype);
    testing::for_each_path(dtype, [&](const std::string& name, AttentionPath path) {
      CAPTURE(name);
      CHECK(testing::relative_error(rows.attend(c, dtype, path, {table.data(), c.prefix}), expected) <= allowed);
    });
  }
}

TEST_CASE("attention with a rope: a row is bit-identical for any threads") {
  const Case c{1, 2, 605, 40, 5, 0};
  const auto table = testing::rope_table(c.tokens - c.prefix, c.dim, c.width);
  for (const DType dtype : kDTypes) {
    Rows rows(c, random_tokens(c, 1), random_tokens(c, 2), random_tokens(c, 3), dtype);
    const reference::AttentionShape shape{c.batch, c.heads, c.tokens, c.tokens, c.dim, c.dim};
    testing::for_each_path(dtype, [&](const std::string& name, AttentionPath path) {
      CAPTURE(name);
      std::vector<float> expected;
      for (const int threads : {1, 2, 7}) {
        GuardedBuffer out(shape.out_size(), dtype);
        AttentionArgs args = testing::dense_args(shape, rows.q.data(), rows.k.data(), rows.v.data(), out.data(), dtype);
        args.rope = {table.data(), c.prefix};
        testing::run(args, path, threads);
        if (expected.empty()) expected = out.floats();
        CHECK(out.floats() == expected);
      }
    });
  }
}

TEST_CASE("attention with a rope: what does not fit is refused, the rest runs") {
  std::mt19937 generator(7);
  const auto number = [&](int low, int high) { return std::uniform_int_distribution(low, high)(generator); };
  const ThreadPool pool(1);
  int refused = 0;
  for (int i = 0; i < 500; ++i) {
    const int queries = number(1, 9), keys = number(0, 2) > 0 ? queries : number(1, 9), dim = number(1, 9);
    const int prefix = number(-1, 6);
    const bool is_right = queries == keys && dim % 2 == 0 && prefix >= 0 && prefix <= keys;
    const DType dtype = kDTypes[number(0, 1)];
    const reference::AttentionShape shape{1, 1, queries, keys, dim, dim};
    GuardedBuffer q(testing::random_floats(shape.q_size(), 1), dtype),
        k(testing::random_floats(shape.k_size(), 2), dtype), v(testing::random_floats(shape.v_size(), 3), dtype),
        out(shape.out_size(), dtype);
    const auto table = testing::random_floats(static_cast<std::size_t>(std::max(1, keys - prefix) * dim), 4);
    AttentionArgs args = testing::dense_args(shape, q.data(), k.data(), v.data(), out.data(), dtype);
    AlignedBuffer scratch(cpu::attention_scratch_bytes(args, pool));
    args.scratch = scratch.data();
    args.rope = {table.data(), prefix};
    CAPTURE(fmt::format("{} queries, {} keys, dim {}, prefix {}", queries, keys, dim, prefix));
    try {
      cpu::attention(args, pool);
      CHECK(is_right);
      for (const float x : out.floats()) CHECK(std::isfinite(x));
    } catch (const Error& error) {
      CHECK_FALSE(is_right);
      CHECK(error.code == Error::Code::argument);
      CHECK(std::string(error.what()).find("rope") != std::string::npos);
      ++refused;
    }
    CHECK(out.is_guard_intact());
  }
  CHECK(refused > 100);
  CHECK(refused < 500);
}

}  // namespace vistazo
