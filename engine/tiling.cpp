#include <vistazo/tiling.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "engine/preprocess.h"
#include "engine/seam_merger.h"
#include "engine/tile_grid.h"
#include "kernels/base/error.h"

// Three parties: readers fill windows ahead, one thread runs the detector over batches of them in order, and the
// caller's thread merges and tells. Each waits for the slower of its neighbours, so memory is bounded.
namespace vistazo {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Windows come in batches of any number, the last one often smaller: the GPU's kernels are always those of so many, for
// those of another number round otherwise.
constexpr int kWindowsChosenFor = 16;

using DetectBatch = std::function<std::vector<Detections>(std::span<const Image>)>;

// Where an image is smaller than a window, the rest: ImageNet's mean colour, near zero for the models trained with it.
constexpr std::uint8_t kPadding[3] = {124, 116, 104};

struct Window {
  int index = 0;
  std::vector<std::uint8_t> pixels;
};

struct Finished {
  int index = 0;
  Detections detections;
};

// What the threads share. Everything is guarded by the mutex.
struct Shared {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<int, Window> read;     // by index: readers may overtake each other
  std::deque<Finished> finished;  // in order
  int next_to_read = 0, next_to_detect = 0;
  bool is_stopping = false;  // no new windows
  bool is_detector_done = false;
  std::exception_ptr error;
  double read_seconds = 0, detect_seconds = 0;

  void fail_with(std::exception_ptr e) {
    const std::lock_guard lock(mutex);
    if (!error) error = e;
    is_stopping = true;
    changed.notify_all();
  }
};

class Pipeline {
 public:
  Pipeline(DetectBatch detect, RegionReader& reader, const TileGrid& grid, int first, int batch)
      : detect_(std::move(detect)), grid_(grid), count_(grid.count()), batch_(batch), depth_(2 * batch + 2) {
    shared_.next_to_read = shared_.next_to_detect = first;
    readers_.push_back(&reader);
    // A core for every four, as for image files; the detector needs the others.
    const int wanted = std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 4, 1, 8);
    while (static_cast<int>(readers_.size()) < wanted) {
      std::unique_ptr<RegionReader> clone = reader.clone();
      if (!clone) break;
      clones_.push_back(std::move(clone));
      readers_.push_back(clones_.back().get());
    }
    for (RegionReader* r : readers_) threads_.emplace_back([this, r] { guard([&] { read_windows(*r); }); });
    threads_.emplace_back([this] {
      guard([&] { detect_windows(); });
      const std::lock_guard lock(shared_.mutex);
      shared_.is_detector_done = true;
      shared_.changed.notify_all();
    });
  }

  ~Pipeline() { stop(); }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  void stop() {
    const std::lock_guard lock(shared_.mutex);
    shared_.is_stopping = true;
    shared_.changed.notify_all();
  }

  // The next window in order; nothing after the last one, or the last one before a stop. Throws what a thread threw.
  std::optional<Finished> next() {
    std::unique_lock lock(shared_.mutex);
    shared_.changed.wait(lock, [&] { return !shared_.finished.empty() || shared_.is_detector_done; });
    if (shared_.finished.empty()) {
      if (shared_.error) std::rethrow_exception(shared_.error);
      return {};
    }
    Finished result = std::move(shared_.finished.front());
    shared_.finished.pop_front();
    shared_.changed.notify_all();
    return result;
  }

  // Of all threads so far.
  void report_times(TilingReport& report) {
    const std::lock_guard lock(shared_.mutex);
    report.read_seconds = shared_.read_seconds;
    report.detect_seconds = shared_.detect_seconds;
  }

 private:
  template <typename Work>
  void guard(Work&& work) {
    try {
      work();
    } catch (...) {
      shared_.fail_with(std::current_exception());
    }
  }

  void read_windows(RegionReader& reader) {
    std::unique_lock lock(shared_.mutex);
    while (true) {
      shared_.changed.wait(lock, [&] {
        return shared_.is_stopping || shared_.next_to_read == count_ ||
               shared_.next_to_read < shared_.next_to_detect + depth_;
      });
      if (shared_.is_stopping || shared_.next_to_read == count_) return;
      const int index = shared_.next_to_read++;
      lock.unlock();
      const auto start = Clock::now();
      Window window = read_window(reader, index);
      const double seconds = seconds_since(start);
      lock.lock();
      shared_.read_seconds += seconds;
      shared_.read.emplace(index, std::move(window));
      shared_.changed.notify_all();
    }
  }

  Window read_window(RegionReader& reader, int index) const {
    const Box area = grid_.area(index);
    const int width = static_cast<int>(area.x1 - area.x0), height = static_cast<int>(area.y1 - area.y0);
    const auto side = static_cast<std::size_t>(grid_.side());
    Window window{index, std::vector<std::uint8_t>(3 * side * side)};
    if (width < grid_.side() || height < grid_.side()) {
      for (std::size_t i = 0; i < window.pixels.size(); ++i) window.pixels[i] = kPadding[i % 3];
    }
    reader.read(grid_.left(index), grid_.top(index), width, height, window.pixels.data(), 3 * grid_.side());
    return window;
  }

  // Waits for a whole batch, but for the last one.
  std::vector<Window> take_batch() {
    std::unique_lock lock(shared_.mutex);
    const int first = shared_.next_to_detect, last = std::min(first + batch_, count_);
    const auto has_all = [&] {
      for (int i = first; i < last; ++i) {
        if (!shared_.read.contains(i)) return false;
      }
      return static_cast<int>(shared_.finished.size()) < depth_;
    };
    shared_.changed.wait(lock, [&] { return shared_.is_stopping || has_all(); });
    std::vector<Window> batch;
    if (shared_.is_stopping) return batch;
    for (int i = first; i < last; ++i) batch.push_back(std::move(shared_.read.extract(i).mapped()));
    shared_.next_to_detect = last;
    shared_.changed.notify_all();
    return batch;
  }

  void detect_windows() {
    while (true) {
      const std::vector<Window> batch = take_batch();
      if (batch.empty()) return;
      std::vector<Image> images;
      const int side = grid_.side();
      for (const Window& w : batch) images.push_back({w.pixels.data(), side, side, 3 * side, PixelFormat::rgb8});
      const auto start = Clock::now();
      std::vector<Detections> found = detect_(images);
      const double seconds = seconds_since(start);
      const std::lock_guard lock(shared_.mutex);
      shared_.detect_seconds += seconds;
      for (std::size_t i = 0; i < batch.size(); ++i) {
        shared_.finished.push_back({batch[i].index, std::move(found[i])});
      }
      shared_.changed.notify_all();
    }
  }

  const DetectBatch detect_;
  const TileGrid& grid_;
  const int count_, batch_;
  const int depth_;  // windows that may wait
  std::vector<std::unique_ptr<RegionReader>> clones_;
  std::vector<RegionReader*> readers_;
  Shared shared_;
  std::vector<std::jthread> threads_;  // last: they end before what they use
};

float rounded(float value, float unit) {
  return static_cast<float>(std::round(static_cast<double>(value) * static_cast<double>(unit)) /
                            static_cast<double>(unit));
}

// To what a file of results keeps, so that a run that continues from a file ends as one that never stopped.
void round_to_file(Detections& detections) {
  constexpr float kBoxUnits = 100, kScoreUnits = 100000;
  for (Detection& d : detections) {
    for (float* side : {&d.box.x0, &d.box.y0, &d.box.x1, &d.box.y1}) *side = rounded(*side, kBoxUnits);
    d.score = rounded(d.score, kScoreUnits);
  }
}

// From pixels of a tile to those of the image; what lies in the padding is dropped.
Detections in_image(const Detections& detections, const TileGrid& grid, int tile) {
  const Box area = grid.area(tile);
  Detections result;
  for (Detection d : detections) {
    d.box = {std::min(d.box.x0 + area.x0, area.x1), std::min(d.box.y0 + area.y0, area.y1),
             std::min(d.box.x1 + area.x0, area.x1), std::min(d.box.y1 + area.y0, area.y1)};
    if (d.box.x1 > d.box.x0 && d.box.y1 > d.box.y0) result.push_back(d);
  }
  return result;
}

// What the whole image, shrunk, shows of objects larger than half a window.
Detections find_large(const Detector& detector, RegionReader& reader, int window) {
  const double longest = std::max(reader.width(), reader.height());
  const double scale = std::min(1.0, 2.0 * window / longest);
  const auto shrunk = [&](int size) { return std::max(1, static_cast<int>(std::lround(size * scale))); };
  const int width = shrunk(reader.width()), height = shrunk(reader.height());
  std::vector<std::uint8_t> pixels(3 * static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
  reader.read_overview(width, height, pixels.data());
  const float to_x = static_cast<float>(reader.width()) / static_cast<float>(width);
  const float to_y = static_cast<float>(reader.height()) / static_cast<float>(height);
  Detections large;
  for (Detection d : detector.detect({pixels.data(), width, height, 3 * width, PixelFormat::rgb8})) {
    d.box = {d.box.x0 * to_x, d.box.y0 * to_y, d.box.x1 * to_x, d.box.y1 * to_y};
    if (2 * std::max(d.box.x1 - d.box.x0, d.box.y1 - d.box.y0) > static_cast<float>(window)) large.push_back(d);
  }
  round_to_file(large);
  return large;
}

// The caller's part of a run: merges window by window and tells.
class Teller {
 public:
  Teller(const TileGrid& grid, const TilingOptions& options, const TilingEvents& events, std::vector<float> min_scores,
         const Detections& large, TilingReport& report)
      : grid_(grid), events_(events), merger_(grid, options, std::move(min_scores), large), report_(report) {
    tell(large);
  }

  void add(int window, const Detections& detections) {
    const auto start = Clock::now();
    merger_.add(window, in_image(detections, grid_, window));
    ++report_.windows;
    if ((window + 1) % grid_.columns() == 0) tell(merger_.take_finished());
    report_.merge_seconds += seconds_since(start);
  }

 private:
  void tell(const Detections& objects) {
    report_.objects += static_cast<std::int64_t>(objects.size());
    if (events_.on_objects && !objects.empty()) events_.on_objects(objects);
  }

  const TileGrid& grid_;
  const TilingEvents& events_;
  SeamMerger merger_;
  TilingReport& report_;
};

std::vector<float> min_scores_of(const Detector& detector) {
  std::vector<float> scores;
  for (int k = 0; k < static_cast<int>(detector.class_names().size()); ++k) scores.push_back(detector.min_score(k));
  return scores;
}

void require_image(const RegionReader& reader) {
  if (reader.width() >= 1 && reader.height() >= 1) return;
  fail(Error::Code::argument, "TiledDetector: an image of {} x {} pixels; at least 1 x 1 is wanted", reader.width(),
       reader.height());
}

}  // namespace

TiledDetector::TiledDetector(const Detector& detector, const TilingOptions& options)
    : detector_(&detector), options_(options) {
  constexpr int kMaxWindow = 16384;
  const auto refuse = [](const char* name, auto value, const char* wanted) {
    fail(Error::Code::argument, "TilingOptions: {} is {}; {} is wanted", name, value, wanted);
  };
  if (options.window < 16 || options.window > kMaxWindow) refuse("window", options.window, "16 to 16384 pixels");
  if (!(options.overlap >= 0 && options.overlap <= 0.9f)) refuse("overlap", options.overlap, "0 to 0.9");
  if (!(options.threshold > 0 && options.threshold <= 1))
    refuse("threshold", options.threshold, "more than 0, up to 1");
}

int TiledDetector::window_count(int width, int height) const {
  return TileGrid(width, height, options_.window, options_.overlap).count();
}

TilingReport TiledDetector::run(RegionReader& reader, const TilingEvents& events, std::stop_token stop) const {
  require_image(reader);
  const auto start = Clock::now();
  const TileGrid grid(reader.width(), reader.height(), options_.window, options_.overlap);
  TilingReport report;
  Detections large;
  if (options_.whole_image && grid.count() > 1) large = find_large(*detector_, reader, options_.window);
  Teller teller(grid, options_, events, min_scores_of(*detector_), large, report);
  while (events.next_known && report.windows < grid.count()) {
    const std::optional<Detections> known = events.next_known();
    if (!known) break;
    teller.add(report.windows, *known);
  }
  const auto detect = [this](std::span<const Image> windows) {
    return detector_->detect_planned(windows, kWindowsChosenFor);
  };
  Pipeline pipeline(detect, reader, grid, report.windows, detector_->max_batch());
  const std::stop_callback on_stop(stop, [&] { pipeline.stop(); });
  while (std::optional<Finished> finished = pipeline.next()) {
    round_to_file(finished->detections);
    if (events.on_window) {
      const auto begin = Clock::now();
      events.on_window(finished->index, finished->detections);
      report.merge_seconds += seconds_since(begin);
    }
    teller.add(finished->index, finished->detections);
    ++report.windows_detected;
  }
  report.is_complete = report.windows == grid.count();
  pipeline.report_times(report);
  report.elapsed_seconds = seconds_since(start);
  return report;
}

Detections TiledDetector::detect(RegionReader& reader) const {
  Detections all;
  TilingEvents events;
  events.on_objects = [&](const Detections& objects) { all.insert(all.end(), objects.begin(), objects.end()); };
  run(reader, events);
  std::ranges::stable_sort(all, std::greater<>{}, &Detection::score);
  return all;
}

Detections TiledDetector::detect(const Image& image) const {
  return detect(*make_region_reader(image));
}

}  // namespace vistazo
