#pragma once

#include <cstddef>
#include <memory>

#include "apps/image_io.h"

namespace vistazo::apps {

// Windows on the screen, one for each source, drawn by a thread of their own: some toolkits want all calls from one.
class VideoWindow {
 public:
  // Throws Error{unsupported} if windows are wanted and this build or machine has none.
  explicit VideoWindow(bool is_wanted);
  ~VideoWindow();
  VideoWindow(const VideoWindow&) = delete;
  VideoWindow& operator=(const VideoWindow&) = delete;

  // The picture is shown soon, unless a newer one of that source comes before.
  void show(std::size_t source, const Picture& picture);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vistazo::apps
