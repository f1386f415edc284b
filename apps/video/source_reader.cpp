#include "apps/video/source_reader.h"

#include <fmt/core.h>
#include <vistazo/error.h>

#include <algorithm>
#include <utility>

namespace vistazo::apps {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

SourceReader::SourceReader(std::size_t index, const std::string& name, const SourceOptions& options,
                           const std::atomic<bool>& stopped, VideoStatistics& statistics)
    : index_(index), name_(name), options_(options), stopped_(stopped), statistics_(statistics) {
  try {
    reader_ = open();
  } catch (const Error& e) {
    throw Error(e.code, fmt::format("{}: {}", name, e.what()));
  }
  format_ = reader_->format();
  // A live source's own clock starts anew whenever it is opened again: its frames are timed by their arrival.
  if (format_.is_live) format_.tick = {0, 1, 90'000};
}

SourceReader::~SourceReader() {
  join();
}

void SourceReader::join() {
  if (thread_.joinable()) thread_.join();
}

std::unique_ptr<VideoReader> SourceReader::open() {
  return open_video(name_, options_.reader, stopped_, [&](const std::string& reason) {
    options_.reader.decoder = DecoderChoice::cpu;  // whenever it is opened again, too
    if (options_.on_note) options_.on_note(fmt::format("{}: decoded on the CPU: {}", name_, reason));
  });
}

void SourceReader::start(FrameHub& hub) {
  thread_ = std::thread([this, &hub] { run(hub); });
}

void SourceReader::run(FrameHub& hub) {
  try {
    while (!stopped_ && !read_to_end(hub) && reopen()) {
    }
  } catch (const std::exception& e) {
    failure_ = e.what();
  }
  hub.close(index_);
}

// False if a live source was lost; throws Error for a file that breaks off.
bool SourceReader::read_to_end(FrameHub& hub) {
  std::int64_t broken = 0;
  const auto count_broken = [&] {
    statistics_.broken += reader_->broken_frames() - broken;
    broken = reader_->broken_frames();
  };
  try {
    for (VideoFrame frame;;) {
      {
        const BusyTimer timer(statistics_.reading);
        if (!reader_->next(frame)) break;
      }
      ++statistics_.read;
      count_broken();
      if (format_.is_live) {
        if (frames_ == 0) first_arrival_ = frame.arrived;
        const auto elapsed = frame.arrived - first_arrival_;
        frame.time_ms = std::chrono::duration<double, std::milli>(elapsed).count();
        frame.time = {static_cast<std::int64_t>(frame.time_ms * 90), 1, 90'000};
      }
      frame.index = frames_++;
      const bool wanted = is_wanted(frame);
      if (!wanted && !options_.keeps_unwanted) continue;
      {
        const BusyTimer timer(statistics_.reading);
        reader_->fill(frame);
      }
      if (!hub.push({index_, std::exchange(frame, {}), wanted})) return true;
    }
  } catch (const Error& e) {
    count_broken();
    if (!format_.is_live) throw;
    return false;
  }
  count_broken();
  return !format_.is_live;
}

// Waits, and tries, until the source is there again. False if everything stops before.
bool SourceReader::reopen() {
  reader_.reset();
  for (auto pause = options_.first_pause;; pause = std::min(2 * pause, options_.longest_pause)) {
    const Clock::time_point next = Clock::now() + pause;
    while (Clock::now() < next) {
      if (stopped_) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    try {
      reader_ = open();
      ++statistics_.reopened;
      return true;
    } catch (const Error&) {
      if (stopped_) return false;
    }
  }
}

bool SourceReader::is_wanted(const VideoFrame& frame) {
  if (frame.index % options_.every != 0) return false;
  if (options_.max_fps <= 0) return true;
  const double interval_ms = 1000 / options_.max_fps;
  constexpr double kJitterMs = 1e-3;
  if (frame.time_ms + kJitterMs < next_wanted_ms_) return false;
  // The grid of wanted times stays where it is unless the source has fallen behind it.
  next_wanted_ms_ = std::max(next_wanted_ms_ + interval_ms, frame.time_ms + interval_ms / 2);
  return true;
}

}  // namespace vistazo::apps
