#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace vistazo::apps {

// Counts durations in classes that grow by 5%, from 10 us to beyond an hour: any number of them, in fixed memory.
class DurationHistogram {
 public:
  void add(std::chrono::steady_clock::duration duration);
  // The duration, in ms and within 5%, that a fraction of all does not exceed; 0 if there are none.
  double quantile_ms(double fraction) const;
  std::int64_t count() const;

 private:
  static constexpr int kClasses = 420;
  mutable std::mutex mutex_;
  std::array<std::int64_t, kClasses> counts_{};
  std::int64_t total_ = 0;
};

// Time that threads spent at a kind of work.
class BusyTime {
 public:
  void add(std::chrono::steady_clock::duration duration) {
    nanoseconds_ += std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  }
  double seconds() const { return 1e-9 * static_cast<double>(nanoseconds_.load()); }

 private:
  std::atomic<std::int64_t> nanoseconds_{0};
};

// Adds the time from its construction to its end.
class BusyTimer {
 public:
  explicit BusyTimer(BusyTime& time) : time_(time) {}
  ~BusyTimer() { time_.add(std::chrono::steady_clock::now() - start_); }
  BusyTimer(const BusyTimer&) = delete;
  BusyTimer& operator=(const BusyTimer&) = delete;

 private:
  BusyTime& time_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Of all sources together; any thread may add.
struct VideoStatistics {
  std::atomic<std::int64_t> read{0};       // frames that came out of the decoders
  std::atomic<std::int64_t> processed{0};  // frames that went through the detector
  std::atomic<std::int64_t> broken{0}, dropped{0}, reopened{0}, objects{0};
  DurationHistogram latency;  // from a frame's arrival to its result
  BusyTime reading, detecting, tracking, drawing, encoding;

  // "128 frames  24.9/s  latency 38/61 ms  3 dropped  ..."
  std::string line(double seconds) const;
};

}  // namespace vistazo::apps
