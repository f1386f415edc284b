#pragma once

#include <chrono>
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

  // Does not wait: without room, the oldest values go. Returns how many went.
  std::size_t push_newest(T value) {
    const std::lock_guard lock(mutex_);
    if (is_stopped_) return 0;
    std::size_t dropped = 0;
    for (; values_.size() >= capacity_; ++dropped) values_.pop_front();
    values_.push_back(std::move(value));
    has_value_.notify_one();
    return dropped;
  }

  // Waits for a value. Nothing if the queue is closed and empty, or stopped.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    has_value_.wait(lock, [&] { return !values_.empty() || is_closed_ || is_stopped_; });
    return take();
  }

  // Waits no longer than that.
  std::optional<T> pop_until(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    has_value_.wait_until(lock, deadline, [&] { return !values_.empty() || is_closed_ || is_stopped_; });
    return take();
  }

  void close() { end(is_closed_); }
  void stop() { end(is_stopped_); }

  // Whether pop() has nothing to wait for any more.
  bool is_exhausted() const {
    const std::lock_guard lock(mutex_);
    return is_stopped_ || (is_closed_ && values_.empty());
  }

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
