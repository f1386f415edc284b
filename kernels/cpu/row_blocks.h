#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/thread_pool.h"

namespace vistazo::cpu {

// Elements below which waking other threads costs more than it saves (a few microseconds).
inline constexpr std::int64_t kSerialElements = 16 * 1024;
// Elements of a block of rows: long enough to hide the cost of taking it, short enough to stay in an L1 or L2 cache.
inline constexpr std::int64_t kBlockElements = 8 * 1024;

// Calls body(first, last) for ranges of rows that cover [0, rows), on the pool's threads where the work is worth them.
template <typename Body>
void for_each_row_block(const ThreadPool& pool, std::int64_t rows, std::int64_t cols, Body&& body) {
  if (rows <= 0 || cols <= 0) return;
  if (pool.threads() == 1 || rows == 1 || rows * cols < kSerialElements) {
    body(std::int64_t{0}, rows);
    return;
  }
  const std::int64_t block = std::max<std::int64_t>(1, kBlockElements / cols);
  pool.for_each((rows + block - 1) / block,
                [&](std::int64_t item, int) { body(item * block, std::min(rows, (item + 1) * block)); });
}

}  // namespace vistazo::cpu
