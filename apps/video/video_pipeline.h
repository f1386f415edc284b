#pragma once

#include <vistazo/detector.h>
#include <vistazo/tracker.h>
#include <vistazo/tracking_score.h>

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "apps/video/source_reader.h"
#include "apps/video/truth.h"
#include "apps/video/video_statistics.h"
#include "apps/video/video_writer.h"

namespace vistazo::apps {

// A frame with what was found on it.
struct VideoResult {
  VideoFrame frame;
  bool is_processed = true;  // false: only passed on; detections are those of the last processed frame
  Detections detections;
  std::vector<std::int64_t> track_ids;  // of each detection, Tracker::kNone without; empty if nothing is tracked
};

struct VideoSourceOptions {
  std::string name;            // file, camera, stream or pattern of pictures
  std::filesystem::path save;  // annotated video; empty: none
  std::optional<VideoTruth> truth;
};

struct VideoPipelineOptions {
  SourceOptions source;
  VideoWriterOptions writer;
  int batch = 1;  // frames that are detected together
  int lanes = 1;  // batches that are detected at the same time, by a thread each
  std::optional<TrackerOptions> tracking;
  float shown_score = 0;        // detections below are for the tracker alone, unless they continue a track
  float same_place = 0.85f;     // of detections that overlap by a larger IoU, whatever their classes, the best stays
  bool needs_pictures = false;  // on_result wants the frame's picture, wherever it was decoded
  // Called for every processed frame, of one source in order, from the source's own thread.
  std::function<void(std::size_t source, const VideoResult&)> on_result;
  // Called for every frame that is drawn, with the annotated picture, from the source's own thread.
  std::function<void(std::size_t source, const Picture&)> on_picture;
};

struct VideoSourceReport {
  std::string name;
  std::int64_t frames = 0;             // that were written or passed on
  std::string failure;                 // why it ended before its time; empty: it did not
  std::optional<TrackingScore> score;  // where there is a truth
};

// Decodes, detects, tracks, draws and encodes at the same time: a thread reads each source, the calling thread runs the
// detector on batches of all sources, and a thread a source does what comes after. Queues between them are bounded.
// Opens all sources and outputs first, and throws Error naming what cannot be opened. Returns when all sources have
// ended, or soon after `stopped` was set: frames on their way are finished, and files closed.
std::vector<VideoSourceReport> run_video_pipeline(const Detector& detector,
                                                  const std::vector<VideoSourceOptions>& sources,
                                                  const VideoPipelineOptions& options, std::atomic<bool>& stopped,
                                                  VideoStatistics& statistics);

// The JSON line of a result: {"source": .., "frame": 0, "time_ms": .., "detections": [{.., "track_id": ..}]}.
std::string to_json_line(const std::string& source, const VideoResult& result,
                         std::span<const std::string> class_names);

}  // namespace vistazo::apps
