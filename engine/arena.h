#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include "kernels/base/aligned.h"
#include "kernels/base/error.h"

namespace vistazo {

// Scratch for one forward pass: blocks are taken in order and given back in reverse, so a pass allocates nothing.
class Arena {
 public:
  // Hands out [base, base + capacity), which it does not own.
  Arena(std::byte* base, std::size_t capacity) : base_(base), capacity_(capacity) {}
  // Hands out addresses that nobody may follow: it only counts.
  static Arena counting() {
    return {reinterpret_cast<std::byte*>(kAlignment), std::numeric_limits<std::size_t>::max()};
  }

  void* allocate(std::size_t bytes) {
    const std::size_t end = used_ + align_up(bytes);
    if (end > capacity_) {
      fail(Error::Code::device, "arena: a pass needs more than the {} bytes that were planned for it", capacity_);
    }
    void* block = base_ + used_;
    used_ = end;
    peak_ = std::max(peak_, end);
    return block;
  }

  std::size_t used() const { return used_; }
  std::size_t peak() const { return peak_; }
  void release_to(std::size_t used) { used_ = used; }

 private:
  std::byte* base_;
  std::size_t capacity_;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
};

}  // namespace vistazo
