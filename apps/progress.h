#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace vistazo::apps {

// "  12/339 [===>      ]  15.2 images/s  0:21 left", at most `columns` characters. The first `before` were done already
// when the time began.
std::string progress_line(std::size_t done, std::size_t total, double elapsed_seconds, int columns,
                          const std::string& unit = "images", std::size_t before = 0);

// A progress bar on stderr; nothing where stderr is no terminal.
class Progress {
 public:
  explicit Progress(std::size_t total, std::string unit = "images", std::size_t done = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance();
  // Removes the bar, so that a line can be printed; the next advance() brings it back.
  void hide();

 private:
  const std::size_t total_, before_;
  const std::string unit_;
  const bool is_terminal_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point drawn_;
  std::size_t done_ = 0;
  bool is_visible_ = false;
};

}  // namespace vistazo::apps
