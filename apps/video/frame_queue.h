#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace vistazo::apps {

// A bounded queue between threads. Closed by the writer, it still gives what it holds; stopped by anyone, it gives
// nothing more and takes nothing more.
template <typename T>
class FrameQueue {
 public:
  explicit FrameQueue(std::size_t capacity) : capacity_(capacity) {}

  // Waits for room. False if the queue was stopped: the value is lost, and so will be all others.
  bool push(T value) {
    std::unique_lock lock(mutex_);
    has_room_.wait(lock, [&] { return values_.size() < capacity_ || is_stopped_; });
    if (is_stopped_) return false;
    values_.push_back(std::move(value));
    has_value_.notify_one();
    return true;
  }

  // Waits for a value. Nothing if the queue is closed and empty, or stopped.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    has_value_.wait(lock, [&] { return !values_.empty() || is_closed_ || is_stopped_; });
    return take();
  }

  void close() { end(is_closed_); }
  void stop() { end(is_stopped_); }

 private:
  std::optional<T> take() {
    if (is_stopped_ || values_.empty()) return std::nullopt;
    std::optional<T> value(std::move(values_.front()));
    values_.pop_front();
    has_room_.notify_one();
    return value;
  }

  void end(bool& flag) {
    const std::lock_guard lock(mutex_);
    flag = true;
    has_room_.notify_all();
    has_value_.notify_all();
  }

  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable has_room_, has_value_;
  std::deque<T> values_;
  bool is_closed_ = false, is_stopped_ = false;
};

}  // namespace vistazo::apps
