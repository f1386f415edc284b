#include "apps/video/video_pipeline.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "apps/annotate.h"
#include "apps/json_output.h"
#include "apps/video/frame_queue.h"

namespace vistazo::apps {
namespace {

constexpr std::size_t kFileFrames = 4;  // that wait for the detector, beyond a batch
constexpr std::size_t kDoneFrames = 4;  // that wait for tracking, drawing and encoding

// What happens to the frames of one source once they went through the detector.
class SourceOutput {
 public:
  SourceOutput(std::size_t index, const VideoSourceOptions& source, const VideoFormat& format,
               const VideoPipelineOptions& options, const VideoWriterOptions& writing,
               std::span<const std::string> class_names, VideoStatistics& statistics)
      : index_(index), source_(source), options_(options), class_names_(class_names), statistics_(statistics) {
    if (options.tracking) tracker_.emplace(*options.tracking);
    if (!source.save.empty()) writer_ = std::make_unique<VideoWriter>(source.save, format, writing);
  }
  ~SourceOutput() {
    queue_.stop();
    if (thread_.joinable()) thread_.join();
  }

  void start(std::atomic<bool>& stopped) {
    thread_ = std::thread([this, &stopped] {
      try {
        while (std::optional<VideoResult> result = queue_.pop()) finish(*result);
        if (writer_) writer_->close();
      } catch (const std::exception& e) {
        failure_ = e.what();
        stopped = true;  // nobody would notice before the end of the video
        queue_.stop();
      }
    });
  }

  void push(VideoResult result) { queue_.push(std::move(result)); }

  // Finishes what is under way.
  VideoSourceReport join() {
    queue_.close();
    thread_.join();
    VideoSourceReport report{source_.name, frames_, failure_, {}};
    if (source_.truth) report.score = scorer_.score();
    return report;
  }

 private:
  void finish(VideoResult& result);
  void track(VideoResult& result);
  void drop_faint(VideoResult& result) const;
  void draw(VideoResult& result);

  const std::size_t index_;
  const VideoSourceOptions& source_;
  const VideoPipelineOptions& options_;
  std::span<const std::string> class_names_;
  VideoStatistics& statistics_;
  FrameQueue<VideoResult> queue_{kDoneFrames};
  std::optional<Tracker> tracker_;
  std::unique_ptr<VideoWriter> writer_;
  TrackingScorer scorer_;
  std::int64_t frames_ = 0, last_processed_ = -1;
  Detections last_detections_;
  std::vector<std::int64_t> last_track_ids_;
  std::string failure_;
  std::thread thread_;
};

void SourceOutput::finish(VideoResult& result) {
  if (result.is_processed) {
    keep_best_of_place(result.detections, options_.same_place);
    track(result);
    drop_faint(result);
    if (options_.needs_pictures) result.frame.fetch_picture();
    if (options_.on_result) options_.on_result(index_, result);
    statistics_.latency.add(std::chrono::steady_clock::now() - result.frame.arrived);
    ++statistics_.processed;
    statistics_.objects += static_cast<std::int64_t>(result.detections.size());
    last_detections_ = result.detections;
    last_track_ids_ = result.track_ids;
  } else {
    result.detections = last_detections_;
    result.track_ids = last_track_ids_;
  }
  if (writer_ || options_.on_picture) draw(result);
  ++frames_;
}

void SourceOutput::track(VideoResult& result) {
  const BusyTimer timer(statistics_.tracking);
  if (tracker_) {
    const std::int64_t passed = last_processed_ < 0 ? 1 : result.frame.index - last_processed_;
    result.track_ids = tracker_->update(result.detections, static_cast<int>(passed));
  }
  last_processed_ = result.frame.index;
  if (!source_.truth) return;
  std::vector<IdentifiedBox> boxes;
  for (std::size_t i = 0; i < result.track_ids.size(); ++i) {
    if (result.track_ids[i] != Tracker::kNone) boxes.push_back({result.track_ids[i], result.detections[i].box});
  }
  scorer_.add_frame(source_.truth->at(result.frame.index), boxes);
}

// Leaves the detections that nobody wants to see but the tracker.
void SourceOutput::drop_faint(VideoResult& result) const {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < result.detections.size(); ++i) {
    const bool has_track = !result.track_ids.empty() && result.track_ids[i] != Tracker::kNone;
    if (result.detections[i].score < options_.shown_score && !has_track) continue;
    result.detections[kept] = result.detections[i];
    if (!result.track_ids.empty()) result.track_ids[kept] = result.track_ids[i];
    ++kept;
  }
  result.detections.resize(kept);
  if (!result.track_ids.empty()) result.track_ids.resize(kept);
}

// On the frame itself, which nobody else holds any more.
void SourceOutput::draw(VideoResult& result) {
  Picture& picture = result.frame.picture;
  {
    const BusyTimer timer(statistics_.drawing);
    result.frame.fetch_picture();
    draw_onto(picture, result.detections, class_names_, result.track_ids);
  }
  if (options_.on_picture) options_.on_picture(index_, picture);
  if (!writer_) return;
  const BusyTimer timer(statistics_.encoding);
  writer_->write(picture, result.frame.time.ticks);
}

// Takes batches from the hub, detects, and hands the frames on, in the order they were taken: on several threads, each
// with a batch of its own.
class DetectionLanes {
 public:
  DetectionLanes(const Detector& detector, FrameHub& hub, std::vector<std::unique_ptr<SourceOutput>>& outputs,
                 int batch, VideoStatistics& statistics)
      : detector_(detector), hub_(hub), outputs_(outputs), batch_(batch), statistics_(statistics) {}

  // Until the hub has no more frames. Throws what a detection threw.
  void run(int lanes) {
    std::vector<std::thread> threads;
    for (int i = 1; i < lanes; ++i) threads.emplace_back([this] { work(); });
    work();
    for (std::thread& thread : threads) thread.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void work() {
    try {
      for (;;) {
        std::unique_lock taking(taking_);
        std::vector<HubFrame> frames = hub_.pop_batch(batch_);
        if (frames.empty()) return;
        const std::int64_t ticket = taken_++;
        taking.unlock();
        std::vector<Detections> detections = detect(frames);
        std::unique_lock giving(giving_);
        turn_.wait(giving, [&] { return given_ == ticket || failure_; });
        if (failure_) return;
        hand_on(frames, detections);
        ++given_;
        turn_.notify_all();
      }
    } catch (...) {
      const std::lock_guard giving(giving_);
      if (!failure_) failure_ = std::current_exception();
      turn_.notify_all();
      hub_.stop();
    }
  }

  std::vector<Detections> detect(const std::vector<HubFrame>& frames) {
    std::vector<Image> images;
    for (const HubFrame& f : frames) {
      if (f.is_wanted) images.push_back(f.frame.view());
    }
    if (images.empty()) return {};
    const BusyTimer timer(statistics_.detecting);
    return detector_.detect_batch(images);
  }

  void hand_on(std::vector<HubFrame>& frames, std::vector<Detections>& detections) {
    std::size_t next = 0;
    for (HubFrame& f : frames) {
      VideoResult result{std::move(f.frame), f.is_wanted, {}, {}};
      if (f.is_wanted) result.detections = std::move(detections[next++]);
      outputs_[f.source]->push(std::move(result));
    }
    std::int64_t dropped = 0;
    for (std::size_t i = 0; i < outputs_.size(); ++i) dropped += hub_.dropped(i);
    statistics_.dropped = dropped;
  }

  const Detector& detector_;
  FrameHub& hub_;
  std::vector<std::unique_ptr<SourceOutput>>& outputs_;
  const int batch_;
  VideoStatistics& statistics_;
  std::mutex taking_, giving_;
  std::condition_variable turn_;
  std::int64_t taken_ = 0, given_ = 0;
  std::exception_ptr failure_;
};

// Sources side by side are parallel enough: threads of each decoder and encoder, unless so many were asked for.
int codec_threads(int asked, std::size_t sources) {
  if (asked > 0) return asked;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency() / sources));
}

}  // namespace

std::vector<VideoSourceReport> run_video_pipeline(const Detector& detector,
                                                  const std::vector<VideoSourceOptions>& sources,
                                                  const VideoPipelineOptions& options, std::atomic<bool>& stopped,
                                                  VideoStatistics& statistics) {
  std::vector<std::unique_ptr<SourceReader>> readers;
  std::vector<bool> is_live;
  for (const VideoSourceOptions& source : sources) {
    SourceOptions reading = options.source;
    reading.reader.decoder_threads = codec_threads(reading.reader.decoder_threads, sources.size());
    reading.keeps_unwanted = !source.save.empty() || options.on_picture != nullptr;
    readers.push_back(std::make_unique<SourceReader>(readers.size(), source.name, reading, stopped, statistics));
    is_live.push_back(readers.back()->format().is_live);
  }
  FrameHub hub(is_live, static_cast<std::size_t>(options.batch * options.lanes) + kFileFrames);
  VideoWriterOptions writing = options.writer;
  writing.encoder_threads = codec_threads(writing.encoder_threads, sources.size());
  std::vector<std::unique_ptr<SourceOutput>> outputs;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    outputs.push_back(std::make_unique<SourceOutput>(i, sources[i], readers[i]->format(), options, writing,
                                                     detector.class_names(), statistics));
  }
  for (const auto& output : outputs) output->start(stopped);
  for (const auto& reader : readers) reader->start(hub);
  try {
    DetectionLanes(detector, hub, outputs, options.batch, statistics).run(options.lanes);
  } catch (...) {
    stopped = true;
    hub.stop();
    for (const auto& reader : readers) reader->join();  // they use the hub
    throw;
  }
  std::vector<VideoSourceReport> reports;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    readers[i]->join();
    VideoSourceReport report = outputs[i]->join();
    if (report.failure.empty()) report.failure = readers[i]->failure();
    reports.push_back(std::move(report));
  }
  return reports;
}

std::string to_json_line(const std::string& source, const VideoResult& result,
                         std::span<const std::string> class_names) {
  Json line{{"source", source}, {"frame", result.frame.index}, {"time_ms", rounded(result.frame.time_ms, 3)}};
  Json& detections = line["detections"] = Json::array();
  for (std::size_t i = 0; i < result.detections.size(); ++i) {
    Json detection = to_json(result.detections[i], class_names);
    const bool has_track = i < result.track_ids.size() && result.track_ids[i] != Tracker::kNone;
    if (has_track) detection["track_id"] = result.track_ids[i];
    detections.push_back(std::move(detection));
  }
  return to_text(line) + "\n";
}

}  // namespace vistazo::apps
