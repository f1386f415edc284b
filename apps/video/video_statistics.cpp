#include "apps/video/video_statistics.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace vistazo::apps {
namespace {

constexpr double kShortestMs = 0.01, kGrowth = 1.05;

}  // namespace

void DurationHistogram::add(std::chrono::steady_clock::duration duration) {
  const double ms = std::chrono::duration<double, std::milli>(duration).count();
  const double steps = std::log(std::max(ms, kShortestMs) / kShortestMs) / std::log(kGrowth);
  const auto index = static_cast<std::size_t>(std::min(steps, static_cast<double>(kClasses - 1)));
  const std::lock_guard lock(mutex_);
  ++counts_[index];
  ++total_;
}

double DurationHistogram::quantile_ms(double fraction) const {
  const std::lock_guard lock(mutex_);
  if (total_ == 0) return 0;
  const double wanted = fraction * static_cast<double>(total_);
  std::int64_t below = 0;
  int index = 0;
  for (; index < kClasses - 1; ++index) {
    below += counts_[static_cast<std::size_t>(index)];
    if (static_cast<double>(below) >= wanted) break;
  }
  return kShortestMs * std::pow(kGrowth, index + 0.5);
}

std::int64_t DurationHistogram::count() const {
  const std::lock_guard lock(mutex_);
  return total_;
}

std::string VideoStatistics::line(double seconds) const {
  const double rate = seconds > 0 ? static_cast<double>(processed) / seconds : 0;
  std::string text = fmt::format("{} frames  {:.1f}/s  latency {:.0f}/{:.0f} ms  {} objects", processed.load(), rate,
                                 latency.quantile_ms(0.5), latency.quantile_ms(0.99), objects.load());
  const auto add = [&](std::int64_t count, const char* what) {
    if (count > 0) text += fmt::format("  {} {}", count, what);
  };
  add(dropped, "dropped");
  add(broken, "broken");
  add(reopened, "reopened");
  return text;
}

}  // namespace vistazo::apps
