#include "apps/image_reader.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace vistazo::apps {
namespace {

constexpr std::size_t kReadyBytes = std::size_t{512} << 20;

ReadImage read_image(std::size_t index, const Input& input) {
  ReadImage image{index, {}, input.error};
  if (!image.error.empty()) return image;
  try {
    image.picture = read_picture(input.path);
  } catch (const std::exception& e) {
    image.error = e.what();
  }
  return image;
}

}  // namespace

ImageReader::ImageReader(std::vector<Input> inputs, int depth, int threads)
    : inputs_(std::move(inputs)), depth_(static_cast<std::size_t>(std::max(1, depth))) {
  for (int i = 0; i < std::max(1, threads); ++i) threads_.emplace_back([this] { read_images(); });
}

ImageReader::~ImageReader() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
}

// The image that the caller waits for may always be read, however many bytes are ready.
bool ImageReader::may_start() const {
  if (is_stopping_ || started_ == inputs_.size()) return true;
  return started_ == taken_ || (started_ < taken_ + depth_ && ready_bytes_ < kReadyBytes);
}

void ImageReader::read_images() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return may_start(); });
    if (is_stopping_ || started_ == inputs_.size()) return;
    const std::size_t index = started_++;
    lock.unlock();
    ReadImage image = read_image(index, inputs_[index]);
    lock.lock();
    ready_bytes_ += image.picture.bytes();
    ready_.emplace(index, std::move(image));
    changed_.notify_all();
  }
}

std::optional<ReadImage> ImageReader::next() {
  std::unique_lock lock(mutex_);
  if (taken_ == inputs_.size()) return {};
  changed_.wait(lock, [this] { return ready_.contains(taken_); });
  ReadImage image = std::move(ready_.extract(taken_).mapped());
  ++taken_;
  ready_bytes_ -= image.picture.bytes();
  changed_.notify_all();
  return image;
}

}  // namespace vistazo::apps
