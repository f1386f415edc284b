#include "apps/progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

namespace vistazo::apps {
namespace {

constexpr auto kRedrawInterval = std::chrono::milliseconds(100);

std::string clock_text(double seconds) {
  const auto total = static_cast<long long>(seconds + 0.5);
  const long long hours = total / 3600, minutes = total / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  return fmt::format("{}:{:02}", minutes, total % 60);
}

int terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string progress_line(std::size_t done, std::size_t total, double elapsed_seconds, int columns,
                          const std::string& unit, std::size_t before) {
  const std::string count = fmt::format("{}/{}", done, total);
  std::string rate;
  if (done > before && elapsed_seconds > 0) {
    const double per_second = static_cast<double>(done - before) / elapsed_seconds;
    rate = fmt::format("{:.1f} {}/s  {} left", per_second, unit,
                       clock_text(static_cast<double>(total - done) / per_second));
  }
  constexpr int kWidestBar = 40;
  const int bar = std::min(kWidestBar, columns - static_cast<int>(count.size() + rate.size()) - 5);  // " [", "]", "  "
  std::string line = count;
  if (bar >= 5 && total > 0) {
    const auto filled = static_cast<std::size_t>(bar) * done / total;
    const bool has_head = filled < static_cast<std::size_t>(bar);
    line += " [" + std::string(filled, '=') + (has_head ? ">" : "") +
            std::string(static_cast<std::size_t>(bar) - filled - (has_head ? 1 : 0), ' ') + "]";
  }
  if (!rate.empty()) line += "  " + rate;
  return line.substr(0, static_cast<std::size_t>(std::max(0, columns)));
}

Progress::Progress(std::size_t total, std::string unit, std::size_t done)
    : total_(total),
      before_(done),
      unit_(std::move(unit)),
      is_terminal_(::isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()),
      done_(done) {}

Progress::~Progress() {
  hide();
}

void Progress::advance() {
  ++done_;
  const auto now = std::chrono::steady_clock::now();
  if (!is_terminal_ || (is_visible_ && now - drawn_ < kRedrawInterval)) return;
  const double elapsed_seconds = std::chrono::duration<double>(now - start_).count();
  // Carriage return and "erase to the end of the line" of ECMA-48.
  fmt::print(stderr, "\r\033[K{}",
             progress_line(done_, total_, elapsed_seconds, terminal_columns() - 1, unit_, before_));
  std::fflush(stderr);
  is_visible_ = true;
  drawn_ = now;
}

void Progress::hide() {
  if (!is_visible_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  is_visible_ = false;
}

}  // namespace vistazo::apps
