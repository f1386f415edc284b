// Attention that rotates q and k, in place: it must give the bits of attention to tensors that were rotated before.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/base/error.h"
#include "kernels/cuda/attention/tiles.h"
#include "tests/cuda/device_buffer.h"
#include "tests/reference/attention.h"
#include "tests/reference/rope.h"
#include "tests/support/attention_args.h"
#include "tests/support/buffers.h"
#include "tests/support/rope_tables.h"

namespace vistazo {
namespace {

using testing::DeviceBuffer;

constexpr cuda::AttentionPath kPaths[] = {cuda::AttentionPath::automatic, cuda::AttentionPath::sm80};
constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16};

struct Case {
  int batch, heads, tokens, dim, prefix, width;
  int skipped = 0, gap = 0;  // elements before the packed rows and at the end of each
};

// q, k and v side by side in rows, as a model's projection leaves them.
struct Packed {
  Case c;
  std::vector<float> q, k, v;  // (B, N, H * D)

  int cols() const { return c.heads * c.dim; }
  std::vector<float> rows() const {
    const auto width = static_cast<std::size_t>(cols()), row = 3 * width + static_cast<std::size_t>(c.gap);
    std::vector<float> all(static_cast<std::size_t>(c.skipped) + q.size() / width * row, NAN);
    const std::vector<float>* const parts[] = {&q, &k, &v};
    for (std::size_t part = 0; part < 3; ++part) {
      for (std::size_t i = 0; i < q.size(); ++i) {
        all[static_cast<std::size_t>(c.skipped) + i / width * row + part * width + i % width] = (*parts[part])[i];
      }
    }
    return all;
  }
  AttentionArgs args(const DeviceBuffer& rows, DType dtype) const {
    const std::int64_t row = 3 * cols() + c.gap;
    const auto operand = [&](int part) {
      return AttentionOperand{rows.at(static_cast<std::size_t>(c.skipped + part * cols())), c.tokens * row, row};
    };
    AttentionArgs args = testing::dense_args({c.batch, c.heads, c.tokens, c.tokens, c.dim, c.dim}, nullptr, nullptr,
                                             nullptr, nullptr, dtype);
    args.q = operand(0);
    args.k = operand(1);
    args.v = operand(2);
    return args;
  }
};

// Normal values of 11 bits at most: see testing::rope_table().
Packed random_packed(const Case& c, DType dtype) {
  const auto count = static_cast<std::size_t>(c.batch * c.tokens * c.heads * c.dim);
  const auto values = [&](unsigned seed) {
    return testing::rounded(testing::random_floats(count, seed), dtype == DType::f32 ? DType::f16 : dtype);
  };
  return {c, values(1), values(2), values(3)};
}

template <typename Real>
std::vector<Real> rotated(const Case& c, const std::vector<float>& table, const std::vector<float>& x) {
  return reference::rope<Real>({c.batch, c.tokens, c.heads, c.dim, c.prefix}, table, x);
}

void check_bits(const Case& c, DType dtype) {
  const auto table = testing::rope_table(c.tokens - c.prefix, c.dim, c.width);
  const Packed plain = random_packed(c, dtype);
  const Packed turned{c, testing::rounded(rotated<float>(c, table, plain.q), dtype),
                      testing::rounded(rotated<float>(c, table, plain.k), dtype), plain.v};
  const DeviceBuffer turned_rows(turned.rows(), dtype), entries(table, DType::f32);
  AttentionArgs turned_args = turned.args(turned_rows, dtype);
  const reference::AttentionShape shape{c.batch, c.heads, c.tokens, c.tokens, c.dim, c.dim};
  CAPTURE(std::string(name_of(dtype)));
  CAPTURE(fmt::format("B{} H{} N{} D{} prefix {} skipped {} gap {}", c.batch, c.heads, c.tokens, c.dim, c.prefix,
                      c.skipped, c.gap));
  for (const auto path : kPaths) {
    CAPTURE(static_cast<int>(path));
    const DeviceBuffer rows(plain.rows(), dtype), out(shape.out_size(), dtype), expected(shape.out_size(), dtype);
    AttentionArgs args = plain.args(rows, dtype);
    args.rope = {static_cast<const float*>(entries.data()), c.prefix};
    args.out = out.data();
    turned_args.out = expected.data();
    cuda::attention(args, nullptr, path);
    cuda::attention(turned_args, nullptr, path);
    CHECK(out.floats() == expected.floats());
    // NaN lies in the gaps.
    const auto are_alike = [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    CHECK(std::ranges::equal(rows.floats(), turned_rows.floats(), are_alike));
    CHECK(out.is_guard_intact());
    CHECK(rows.is_guard_intact());
  }
}

// Angles of all 24 bits, against double precision; twice the error of plain loops with the same roundings, that of the
// output and, as without a rope, in f32 that of exp2f, in the others that of tensor cores' sums.
void check_against_reference(const Case& c, DType dtype) {
  const auto table = testing::rope_table(c.tokens - c.prefix, c.dim, c.width, 0x1p-24f);
  const Packed in = random_packed(c, dtype);
  const reference::AttentionShape shape{c.batch, c.heads, c.tokens, c.tokens, c.dim, c.dim};
  const DeviceBuffer entries(table, DType::f32);
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.dim));
  const auto single = [](const std::vector<double>& x) { return std::vector<float>(x.begin(), x.end()); };
  const auto expected = reference::attention(single(rotated<double>(c, table, in.q)),
                                             single(rotated<double>(c, table, in.k)), in.v, shape, scale);
  const auto q = testing::rounded(rotated<float>(c, table, in.q), dtype),
             k = testing::rounded(rotated<float>(c, table, in.k), dtype);
  const auto plain =
      reference::attention<float>(q, k, in.v, shape, scale, [dtype](float p) { return testing::rounded(p, dtype); });
  const double rounding = dtype == DType::f32 ? 0x1p-23 + 0x1p-22 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
  const double allowed = 2 * testing::relative_error(plain, expected) + rounding;
  CAPTURE(std::string(name_of(dtype)));
  for (const auto path : kPaths) {
    CAPTURE(static_cast<int>(path));
    const DeviceBuffer rows(in.rows(), dtype), out(shape.out_size(), dtype);
    AttentionArgs args = in.args(rows, dtype);
    args.rope = {static_cast<const float*>(entries.data()), c.prefix};
    args.scale = scale;
    args.out = out.data();
    cuda::attention(args, nullptr, path);
    CHECK(testing::relative_error(out.floats(), expected) <= allowed);
    CHECK(out.is_guard_intact());
  }
}

}  // namespace

TEST_CASE("attention with a rope: tokens that are multiples of nothing, prefixes, grids") {
  for (const DType dtype : kDTypes) {
    for (const Case& c : {Case{1, 2, 1, 64, 0, 0}, Case{1, 1, 1, 64, 1, 0}, Case{2, 1, 3, 64, 2, 1},
                          Case{1, 2, 17, 64, 5, 4}, Case{2, 2, 65, 64, 1, 16}, Case{1, 3, 197, 64, 5, 24},
                          Case{1, 1, 325, 64, 0, 25}, Case{1, 2, 197, 32, 5, 0}, Case{3, 1, 130, 32, 1, 43},
                          Case{1, 1, 405, 64, 5, 0}, Case{1, 1, 64, 64, 64, 0}, Case{1, 1, 97, 64, 70, 0}}) {
      check_bits(c, dtype);
    }
  }
}

TEST_CASE("attention with a rope: head dimensions") {
  for (const DType dtype : kDTypes) {
    for (const int dim : {2, 4, 6, 8, 14, 16, 28, 32, 36, 48, 64, 80, 96, 112, 128}) {
      check_bits({1, 2, 83, dim, 3, dim % 4 == 0 ? 8 : 0}, dtype);
    }
  }
}

TEST_CASE("attention with a rope: packed, strided and misaligned rows") {
  for (const DType dtype : kDTypes) {
    check_bits({2, 3, 70, 64, 5, 13, 0, 0}, dtype);
    check_bits({2, 3, 70, 64, 5, 13, 8, 16}, dtype);  // rows at multiples of 16 bytes
    check_bits({2, 3, 70, 32, 5, 0, 2, 2}, dtype);    // of 4
    check_bits({2, 3, 70, 48, 5, 5, 1, 7}, dtype);    // all of them misaligned
    check_bits({2, 3, 70, 28, 0, 7, 1, 0}, dtype);
  }
}

TEST_CASE("attention with a rope: against double precision") {
  for (const DType dtype : kDTypes) {
    check_against_reference({1, 2, 197, 64, 5, 16}, dtype);
    check_against_reference({2, 1, 165, 32, 5, 0}, dtype);
  }
}

TEST_CASE("attention with a rope: a table at no multiple of 16 bytes") {
  const Case c{1, 2, 65, 64, 1, 8};
  for (const DType dtype : kDTypes) {
    const auto table = testing::rope_table(c.tokens - c.prefix, c.dim, c.width);
    std::vector<float> behind_one{NAN};
    behind_one.insert(behind_one.end(), table.begin(), table.end());
    const Packed in = random_packed(c, dtype);
    const DeviceBuffer rows(in.rows(), dtype), same_rows(in.rows(), dtype), entries(table, DType::f32),
        moved(behind_one, DType::f32), out(in.q.size(), dtype), expected(in.q.size(), dtype);
    AttentionArgs args = in.args(rows, dtype);
    args.rope = {static_cast<const float*>(entries.data()), c.prefix};
    args.out = expected.data();
    cuda::attention(args, nullptr);
    args = in.args(same_rows, dtype);
    args.rope = {static_cast<const float*>(moved.at(1)), c.prefix};
    args.out = out.data();
    cuda::attention(args, nullptr);
    CHECK(out.floats() == expected.floats());
  }
}

TEST_CASE("attention with a rope: what does not fit is refused") {
  std::mt19937 generator(7);
  const auto number = [&](int low, int high) { return std::uniform_int_distribution(low, high)(generator); };
  const float table[1] = {};
  int refused = 0;
  for (int i = 0; i < 500; ++i) {
    const int queries = number(1, 9), keys = number(0, 2) > 0 ? queries : number(1, 9), dim = number(1, 9);
    const int prefix = number(-1, 6);
    const bool is_right = queries == keys && dim % 2 == 0 && prefix >= 0 && prefix <= keys;
    AttentionArgs args =
        testing::dense_args({1, 1, queries, keys, dim, dim}, nullptr, nullptr, nullptr, nullptr, DType::bf16);
    args.rope = {table, prefix};
    CAPTURE(fmt::format("{} queries, {} keys, dim {}, prefix {}", queries, keys, dim, prefix));
    try {
      cuda::make_attention_launch(args);
      CHECK(is_right);
    } catch (const Error& error) {
      CHECK_FALSE(is_right);
      CHECK(error.code == Error::Code::argument);
      CHECK(std::string(error.what()).find("rope") != std::string::npos);
      ++refused;
    }
    args.rope.table = nullptr;
    CHECK_NOTHROW(cuda::make_attention_launch(args));
  }
  CHECK(refused > 100);
  CHECK(refused < 500);
}

}  // namespace vistazo
