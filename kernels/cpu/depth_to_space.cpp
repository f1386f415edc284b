#include "kernels/depth_to_space.h"

#include <cstring>

#include "kernels/cpu/thread_pool.h"

// A copy, limited by memory. One item is one row of the input: it makes two rows of the output, and both (2, channels)
// halves of a cell are contiguous on both sides.
namespace vistazo::cpu {

void depth_to_space(const DepthToSpaceArgs& args, const ThreadPool& pool) {
  const std::size_t half = 2 * static_cast<std::size_t>(args.channels) * size_of(args.dtype);
  const std::size_t row = half * static_cast<std::size_t>(args.width);
  pool.for_each(static_cast<std::int64_t>(args.batch) * args.height, [&](std::int64_t item, int) {
    const auto* x = static_cast<const std::byte*>(args.x) + static_cast<std::size_t>(item) * 2 * row;
    auto* upper = static_cast<std::byte*>(args.y) + static_cast<std::size_t>(item) * 2 * row;
    auto* lower = upper + row;
    for (int j = 0; j < args.width; ++j) {
      std::memcpy(upper + static_cast<std::size_t>(j) * half, x, half);
      std::memcpy(lower + static_cast<std::size_t>(j) * half, x + half, half);
      x += 2 * half;
    }
  });
}

}  // namespace vistazo::cpu
