#pragma once

#include <vistazo/detector.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>

namespace vistazo {

// An image that is read part by part, such as a scan that does not fit into memory.
class RegionReader {
 public:
  virtual ~RegionReader() = default;

  virtual int width() const = 0;  // pixels
  virtual int height() const = 0;
  // Writes the pixels of a part, which lies inside the image, as 8-bit R, G, B; row y starts at pixels + y * row_bytes.
  // One call at a time. Throws Error{file}.
  virtual void read(int x, int y, int width, int height, std::uint8_t* pixels, std::ptrdiff_t row_bytes) = 0;
  // The whole image in width x height pixels, at most its own size; dense rows. The default averages what read() gives.
  virtual void read_overview(int width, int height, std::uint8_t* pixels);
  // Another reader of the same image, for another thread; null where there is none, and one thread then reads.
  virtual std::unique_ptr<RegionReader> clone() const { return nullptr; }
};

// A picture in memory: the pixels are borrowed.
std::unique_ptr<RegionReader> make_region_reader(const Image& image);

struct TilingOptions {
  // nms keeps the best of the boxes that one object got from several windows. nmm (non-maximum merging) takes the mean
  // of those that show it whole, and joins the parts of an object that no window saw whole.
  enum class Merge { nms, nmm };
  // Of two boxes of different windows, within the area that both windows show: intersection over union, or over the
  // smaller one.
  enum class Measure { iou, ios };

  int window = 512;      // side of a window in pixels of the image; the detector resizes it to its input as any image
  float overlap = 0.2f;  // of neighbouring windows, at least, in units of their side: 0 to 0.9
  Merge merge = Merge::nmm;
  Measure measure = Measure::iou;
  float threshold = 0.5f;    // of the measure: from here on two boxes are one object
  bool whole_image = false;  // also looks at the whole image, shrunk, for objects that are larger than half a window
  // An object's score is the mean of all windows that show something of it, and must reach the detector's threshold: a
  // window has the more say, the more of the object it shows and the farther from its edge; one that has not found it
  // counts with half the threshold. Half of those that show all of it must have found it, by how far inside it lies.
  // Off: the best score, of what another window confirms or no other shows more of.
  bool vote = true;
};

// What a run did.
struct TilingReport {
  int windows = 0;           // finished, those of an earlier run included
  int windows_detected = 0;  // in this run
  std::int64_t objects = 0;
  bool is_complete = false;    // false: stopped
  double read_seconds = 0;     // of all reader threads together
  double detect_seconds = 0;   // in the detector
  double merge_seconds = 0;    // merging, and what the callbacks took
  double elapsed_seconds = 0;  // the three overlap
};

// The callbacks of a run; any may be empty. They are called from the thread that called run(), one at a time.
struct TilingEvents {
  // The detections of windows that an earlier run has finished, in the order in which on_window gave them.
  std::function<std::optional<Detections>()> next_known;
  // A window is finished: its detections in pixels of the window, boxes rounded to 1/100, scores to 1/100,000.
  std::function<void(int window, const Detections& detections)> on_window;
  // Objects that no later window can change, in pixels of the image, from the top of the image down.
  std::function<void(const Detections& objects)> on_objects;
};

// Finds the objects of an image of any size: square windows, batched while the next ones are read, row by row; what
// several windows show is told once. Memory does not grow with the image but for a row of windows, and the number of
// objects has no limit: Options::max_detections is of a window. The result is the same to the bit for every batch and
// number of threads, and for every interruption.
class TiledDetector {
 public:
  // The detector must live as long. Throws Error{argument}.
  explicit TiledDetector(const Detector& detector, const TilingOptions& options = {});

  // Throws what the reader and the detector throw; everything that was told before stays valid. After a request to
  // stop, windows that are finished already are still told.
  TilingReport run(RegionReader& reader, const TilingEvents& events, std::stop_token stop = {}) const;
  // All at once, best score first.
  Detections detect(RegionReader& reader) const;
  Detections detect(const Image& image) const;

  int window_count(int width, int height) const;

 private:
  const Detector* detector_;
  TilingOptions options_;
};

}  // namespace vistazo
