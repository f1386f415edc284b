#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "apps/image_io.h"

namespace vistazo::apps {

// Memory for the pictures of one source, used again once nobody holds a picture: fresh memory of a frame's size would
// be zeroed by the system, page by page, each time.
class PictureMemory {
 public:
  Picture make(int width, int height) const {
    constexpr std::ptrdiff_t kRowAlignment = 64;
    const std::ptrdiff_t row_bytes = (std::ptrdiff_t{3} * width + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
    // FFmpeg's converter writes whole vectors.
    std::vector<std::uint8_t> block = free_->take(static_cast<std::size_t>(row_bytes * height + kRowAlignment));
    const auto holder = std::make_shared<Holder>(std::move(block), free_);
    return {std::shared_ptr<std::uint8_t>(holder, holder->block.data()), width, height, row_bytes, false};
  }

 private:
  using Block = std::vector<std::uint8_t>;

  class FreeList {
   public:
    Block take(std::size_t bytes) {
      const std::lock_guard lock(mutex_);
      while (!blocks_.empty()) {
        Block block = std::move(blocks_.back());
        blocks_.pop_back();
        if (block.size() == bytes) return block;  // else of another size of frame
      }
      return Block(bytes);
    }
    void give_back(Block block) {
      const std::lock_guard lock(mutex_);
      blocks_.push_back(std::move(block));
    }

   private:
    std::mutex mutex_;
    std::vector<Block> blocks_;
  };

  struct Holder {
    Holder(Block b, std::shared_ptr<FreeList> f) : block(std::move(b)), free(std::move(f)) {}
    ~Holder() { free->give_back(std::move(block)); }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

    Block block;
    std::shared_ptr<FreeList> free;
  };

  std::shared_ptr<FreeList> free_ = std::make_shared<FreeList>();
};

}  // namespace vistazo::apps
