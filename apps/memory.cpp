#include "apps/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace vistazo::apps {
namespace {

// The number behind the first word of a line.
std::optional<double> value_of(const char* file, const std::string& name) {
  std::ifstream stream(file);
  std::string word;
  while (stream >> word) {
    double value = 0;
    if (word == name && stream >> value) return value;
    stream.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return {};
}

std::optional<double> number_in(const char* file) {
  std::ifstream stream(file);
  double number = 0;
  if (stream >> number) return number;
  return {};
}

constexpr double kKibibyte = 1024.0;

}  // namespace

double available_memory_bytes() {
  const auto free = value_of("/proc/meminfo", "MemAvailable:");
  double available = free ? *free * kKibibyte : std::numeric_limits<double>::infinity();
  const auto limit = number_in("/sys/fs/cgroup/memory.max");  // "max", no number: no limit
  const auto used = number_in("/sys/fs/cgroup/memory.current");
  const auto cached = value_of("/sys/fs/cgroup/memory.stat", "inactive_file");  // counted as used, given back on demand
  if (limit && used) available = std::min(available, *limit - *used + cached.value_or(0));
  return available;
}

ProcessMemory process_memory() {
  return {static_cast<std::size_t>(kKibibyte * value_of("/proc/self/status", "VmRSS:").value_or(0)),
          static_cast<std::size_t>(kKibibyte * value_of("/proc/self/status", "VmHWM:").value_or(0))};
}

}  // namespace vistazo::apps
