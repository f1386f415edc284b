#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

// Attention in double precision, loops only. The formula is that of kernels/attention.h.
namespace vistazo::reference {

// q (B, queries, H, head_dim), k (B, keys, H, head_dim), v (B, keys, H, value_dim), out (B, queries, H, value_dim).
struct AttentionShape {
  int batch, heads, queries, keys, head_dim, value_dim;

  std::size_t q_size() const { return size(queries, head_dim); }
  std::size_t k_size() const { return size(keys, head_dim); }
  std::size_t v_size() const { return size(keys, value_dim); }
  std::size_t out_size() const { return size(queries, value_dim); }

 private:
  std::size_t size(int tokens, int dim) const {
    return static_cast<std::size_t>(batch) * static_cast<std::size_t>(tokens) * static_cast<std::size_t>(heads) *
           static_cast<std::size_t>(dim);
  }
};

// Number is the type of every intermediate value: double for the reference, float for the plain loop that a tolerance
// is derived from. `round_weight` is applied to 2^(score - largest), as a kernel does that multiplies in bf16; the sum
// is that of the rounded weights.
template <typename Number, typename Round>
std::vector<Number> attention(const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v,
                              const AttentionShape& shape, float scale, Round round_weight) {
  const auto heads = static_cast<std::size_t>(shape.heads), d = static_cast<std::size_t>(shape.head_dim),
             e = static_cast<std::size_t>(shape.value_dim), queries = static_cast<std::size_t>(shape.queries),
             keys = static_cast<std::size_t>(shape.keys);
  std::vector<Number> out(shape.out_size()), p(keys);
  for (std::size_t b = 0; b < static_cast<std::size_t>(shape.batch); ++b) {
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t i = 0; i < queries; ++i) {
        const float* q_row = &q[((b * queries + i) * heads + h) * d];
        Number largest = -std::numeric_limits<Number>::infinity();
        for (std::size_t j = 0; j < keys; ++j) {
          const float* k_row = &k[((b * keys + j) * heads + h) * d];
          Number dot = 0;
          for (std::size_t c = 0; c < d; ++c) dot += static_cast<Number>(q_row[c]) * static_cast<Number>(k_row[c]);
          p[j] = dot * static_cast<Number>(scale);
          largest = std::max(largest, p[j]);
        }
        Number sum = 0;
        for (Number& x : p) sum += x = round_weight(std::exp(x - largest));
        for (std::size_t c = 0; c < e; ++c) {
          Number value = 0;
          for (std::size_t j = 0; j < keys; ++j)
            value += p[j] * static_cast<Number>(v[((b * keys + j) * heads + h) * e + c]);
          out[((b * queries + i) * heads + h) * e + c] = value / sum;
        }
      }
    }
  }
  return out;
}

template <typename Number = double>
std::vector<Number> attention(const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v,
                              const AttentionShape& shape, float scale) {
  return attention<Number>(q, k, v, shape, scale, [](Number weight) { return weight; });
}

}  // namespace vistazo::reference
