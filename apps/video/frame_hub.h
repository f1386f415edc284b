#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "apps/video/video_reader.h"

namespace vistazo::apps {

struct HubFrame {
  std::size_t source = 0;
  VideoFrame frame;
  bool is_wanted = true;  // by the detector; the others are only passed on
};

// Where the readers of several sources meet the one detector. Each source has a short queue of its own: a file's reader
// waits for room in it, a live source's newest frame pushes the oldest out.
class FrameHub {
 public:
  // is_live: of each source. capacity: frames a file; of a live source one waits, since waiting makes it old.
  FrameHub(const std::vector<bool>& is_live, std::size_t capacity);

  // False if the hub was stopped.
  bool push(HubFrame frame);
  // The source has no more frames.
  void close(std::size_t source);
  // Frames for the next batch: waits for one, then takes what is there, in turns from every source, up to `batch`
  // wanted ones; a source's frames stay in order. Empty once all sources are closed and their frames gone, or if
  // stopped.
  std::vector<HubFrame> pop_batch(int batch);
  void stop();

  // Frames of a live source that were pushed out.
  std::int64_t dropped(std::size_t source) const;

 private:
  struct Source {
    std::deque<HubFrame> frames;
    bool is_live = false, is_closed = false;
    std::int64_t dropped = 0;
  };

  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable has_room_, has_frame_;
  std::vector<Source> sources_;
  std::size_t next_ = 0;  // whose turn it is
  bool is_stopped_ = false;
};

}  // namespace vistazo::apps
