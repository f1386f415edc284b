#include "engine/tensor.h"

#include <fmt/format.h>

namespace vistazo {

std::string Shape::text() const {
  return fmt::format("({})", fmt::join(sizes_.begin(), sizes_.begin() + rank_, ", "));
}

Tensor Tensor::columns(int begin, int end) const {
  assert(0 <= begin && begin < end && end <= cols());
  Shape part;
  switch (shape.rank()) {
    case 1:
      part = {end - begin};
      break;
    case 2:
      part = {shape[0], end - begin};
      break;
    case 3:
      part = {shape[0], shape[1], end - begin};
      break;
    default:
      part = {shape[0], shape[1], shape[2], end - begin};
  }
  auto* first = static_cast<std::byte*>(data) + static_cast<std::size_t>(begin) * size_of(dtype);
  return {first, part, dtype, row_stride};
}

}  // namespace vistazo
