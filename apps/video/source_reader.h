#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "apps/video/frame_hub.h"
#include "apps/video/video_reader.h"
#include "apps/video/video_statistics.h"

namespace vistazo::apps {

struct SourceOptions {
  VideoReaderOptions reader;
  int every = 1;                // of the frames, every so many go to the detector, the first one among them
  double max_fps = 0;           // no more than so many a second of the video's time; 0: all
  bool keeps_unwanted = false;  // pass the others on too
  std::chrono::milliseconds first_pause{500}, longest_pause{30'000};  // before a lost stream is opened again
  std::function<void(const std::string&)> on_note;                    // gets a line that the user should read
};

// A source and the thread that reads it into a hub. A live source that breaks off or falls silent is opened again, with
// pauses that double, until it is there or everything stops; its frames' times go on by the clock.
class SourceReader {
 public:
  // Opens the source: throws Error{file}, naming it.
  SourceReader(std::size_t index, const std::string& name, const SourceOptions& options,
               const std::atomic<bool>& stopped, VideoStatistics& statistics);
  ~SourceReader();  // waits for the thread

  const std::string& name() const { return name_; }
  const VideoFormat& format() const { return format_; }

  void start(FrameHub& hub);
  // Waits until the source has ended.
  void join();
  // After that: why the source ended before its time; empty if it did not.
  const std::string& failure() const { return failure_; }

 private:
  void run(FrameHub& hub);
  bool read_to_end(FrameHub& hub);
  std::unique_ptr<VideoReader> open();
  bool reopen();
  bool is_wanted(const VideoFrame& frame);

  const std::size_t index_;
  const std::string name_;
  SourceOptions options_;
  const std::atomic<bool>& stopped_;
  VideoStatistics& statistics_;
  std::unique_ptr<VideoReader> reader_;
  VideoFormat format_;
  std::thread thread_;
  std::string failure_;
  std::int64_t frames_ = 0;
  double next_wanted_ms_ = 0;
  std::chrono::steady_clock::time_point first_arrival_{};
};

}  // namespace vistazo::apps
