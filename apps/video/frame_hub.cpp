#include "apps/video/frame_hub.h"

#include <algorithm>
#include <utility>

namespace vistazo::apps {

FrameHub::FrameHub(const std::vector<bool>& is_live, std::size_t capacity) : capacity_(capacity) {
  for (const bool live : is_live) sources_.push_back({{}, live, false, 0});
}

bool FrameHub::push(HubFrame frame) {
  std::unique_lock lock(mutex_);
  Source& source = sources_[frame.source];
  if (source.is_live) {
    for (; !source.frames.empty(); ++source.dropped) source.frames.pop_front();
  } else {
    has_room_.wait(lock, [&] { return source.frames.size() < capacity_ || is_stopped_; });
  }
  if (is_stopped_) return false;
  source.frames.push_back(std::move(frame));
  has_frame_.notify_one();
  return true;
}

void FrameHub::close(std::size_t source) {
  const std::lock_guard lock(mutex_);
  sources_[source].is_closed = true;
  has_frame_.notify_all();
}

std::vector<HubFrame> FrameHub::pop_batch(int batch) {
  std::unique_lock lock(mutex_);
  has_frame_.wait(lock, [&] {
    return is_stopped_ || std::ranges::any_of(sources_, [](const Source& s) { return !s.frames.empty(); }) ||
           std::ranges::all_of(sources_, &Source::is_closed);
  });
  std::vector<HubFrame> taken;
  if (is_stopped_) return taken;
  int wanted = 0;
  for (std::size_t empty = 0; empty < sources_.size() && wanted < batch;) {
    Source& source = sources_[next_];
    next_ = (next_ + 1) % sources_.size();
    if (source.frames.empty()) {
      ++empty;
      continue;
    }
    empty = 0;
    wanted += source.frames.front().is_wanted ? 1 : 0;
    taken.push_back(std::move(source.frames.front()));
    source.frames.pop_front();
  }
  has_room_.notify_all();
  return taken;
}

void FrameHub::stop() {
  const std::lock_guard lock(mutex_);
  is_stopped_ = true;
  has_room_.notify_all();
  has_frame_.notify_all();
}

std::int64_t FrameHub::dropped(std::size_t source) const {
  const std::lock_guard lock(mutex_);
  return sources_[source].dropped;
}

}  // namespace vistazo::apps
