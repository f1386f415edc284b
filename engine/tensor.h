#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "kernels/base/dtype.h"

namespace vistazo {

// Up to four sizes, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> sizes) {
    assert(sizes.size() <= kMaxRank);
    for (const std::int64_t size : sizes) sizes_[rank_++] = size;
  }

  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return sizes_[i]; }
  std::int64_t elements() const {
    std::int64_t product = 1;
    for (int i = 0; i < rank_; ++i) product *= sizes_[i];
    return product;
  }
  std::int64_t last() const { return rank_ == 0 ? 1 : sizes_[rank_ - 1]; }
  bool operator==(const Shape&) const = default;
  std::string text() const;  // "(2, 60, 4)"

 private:
  std::array<std::int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
};

// A view of memory on the model's device; it owns nothing. Rows of the last dimension are contiguous and start every
// row_stride elements; all other dimensions are dense over rows. So a slice of columns is a Tensor too.
struct Tensor {
  void* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;
  std::int64_t row_stride = 0;

  std::int64_t rows() const { return shape.last() == 0 ? 0 : shape.elements() / shape.last(); }
  int cols() const { return static_cast<int>(shape.last()); }
  bool is_dense() const { return row_stride == shape.last() || rows() <= 1; }
  std::size_t bytes() const { return static_cast<std::size_t>(shape.elements()) * size_of(dtype); }

  // The same elements with other sizes: of a dense tensor, or with the last size kept.
  Tensor reshaped(const Shape& to) const {
    assert(to.elements() == shape.elements() && (is_dense() || to.last() == shape.last()));
    return {data, to, dtype, is_dense() ? to.last() : row_stride};
  }
  // Columns [begin, end) of the last dimension.
  Tensor columns(int begin, int end) const;
};

}  // namespace vistazo
