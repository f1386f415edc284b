#include "apps/video/video_window.h"

#include <vistazo/error.h>

#ifdef VISTAZO_HAS_HIGHGUI

#include <fmt/core.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <opencv2/highgui.hpp>
#include <thread>

namespace vistazo::apps {

struct VideoWindow::Impl {
  void run() {
    constexpr int kWaitMs = 15;
    while (!is_ended) {
      std::map<std::size_t, Picture> shown;
      {
        const std::lock_guard lock(mutex);
        shown.swap(waiting);
      }
      for (const auto& [source, p] : shown) {
        cv::imshow(fmt::format("vistazo {}", source),
                   cv::Mat(p.height, p.width, CV_8UC3, p.pixels.get(), static_cast<std::size_t>(p.row_bytes)));
      }
      cv::waitKey(kWaitMs);
    }
    cv::destroyAllWindows();
  }

  std::mutex mutex;
  std::map<std::size_t, Picture> waiting;
  std::atomic<bool> is_ended = false;
  std::thread thread;
};

VideoWindow::VideoWindow(bool is_wanted) {
  if (!is_wanted) return;
  if (std::getenv("DISPLAY") == nullptr && std::getenv("WAYLAND_DISPLAY") == nullptr) {
    throw Error(Error::Code::unsupported, "--display: there is no screen here (DISPLAY is not set)");
  }
  impl_ = std::make_unique<Impl>();
  impl_->thread = std::thread([this] { impl_->run(); });
}

VideoWindow::~VideoWindow() {
  if (!impl_) return;
  impl_->is_ended = true;
  impl_->thread.join();
}

void VideoWindow::show(std::size_t source, const Picture& picture) {
  const std::lock_guard lock(impl_->mutex);
  impl_->waiting[source] = picture;
}

}  // namespace vistazo::apps

#else

namespace vistazo::apps {

struct VideoWindow::Impl {};

VideoWindow::VideoWindow(bool is_wanted) {
  if (is_wanted)
    throw Error(Error::Code::unsupported, "--display: this build opens no windows (OpenCV's highgui is missing)");
}
VideoWindow::~VideoWindow() = default;
void VideoWindow::show(std::size_t, const Picture&) {}

}  // namespace vistazo::apps

#endif
