#pragma once

#include <vistazo/error.h>
#include <vistazo/image.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace vistazo {

enum class Device { automatic, cuda, cpu };
enum class Precision { automatic, f32, f16, bf16 };

// In pixels of the input image, clipped to it; x1 and y1 are exclusive.
struct Box {
  float x0 = 0, y0 = 0, x1 = 0, y1 = 0;
};

struct Detection {
  Box box;
  float score = 0;  // 0..1
  int class_id = 0;
};

using Detections = std::vector<Detection>;  // best score first

struct Options {
  Device device = Device::automatic;  // a GPU if there is one that this build can use
  int gpu = 0;                        // index of the GPU
  // GPU: bf16. CPU: bf16 where the processor multiplies bf16, else f32. f16 is for the GPU; a model that does not keep
  // its results in f16 is loaded in bf16 instead.
  Precision precision = Precision::automatic;
  int max_batch = 8;    // images that run at once; a longer batch runs in parts
  int cpu_threads = 0;  // 0: all cores that the process may use
  // Of these, on a CPU, for one call; 0: all. 1 is for programs that call from several threads: a core for each call
  // gets more out of few cores than all cores for one call after the other.
  int threads_per_call = 0;
  float min_score = 0.3f;    // detections below are dropped
  int max_detections = 300;  // the best of an image
  float nms_iou = 0.0f;      // above 0: class-wise non-maximum suppression at this IoU. DETRs need none
  // A published size such as "rf-detr-nano", for weights without a config.json; empty: names and shapes of the tensors
  // decide. If set, a config.json is not looked at.
  std::string architecture;
  std::vector<std::string> class_names;           // one for each class of the model; empty: the model's own
  std::vector<std::string> classes;               // only these, as class_names() has them, in any case; empty: all
  std::map<std::string, float> class_min_scores;  // of a class, in place of min_score
  // Images run at their own size, padded to the model's multiple and at least its trained size, in place of the size
  // that the model's config says: for objects that would be too small. Time and memory grow with the image; see
  // Detector::cost().
  bool native_size = false;
};

struct TensorInfo {
  std::string name;
  std::string dtype;  // as stored: "f32", "f16", "bf16", ...
  std::vector<std::int64_t> shape;
};

struct ModelInfo {
  std::string source;        // the path that was loaded
  std::string part;          // of a training checkpoint: where the weights were, "ema.module"; else empty
  std::string family;        // "rf_detr", ...
  std::string dialect;       // whose tensor names the checkpoint speaks: "huggingface", "original", "random"
  std::string architecture;  // one line: trunk, layers, widths, queries
  std::vector<std::string> class_names;
  int input_height = 0, input_width = 0;  // what preprocessing makes of an image; 0 where that depends on the image
  int height_multiple = 1, width_multiple = 1;  // of the input of forward()
  int queries = 0;
  std::int64_t parameters = 0;
  Device device = Device::cpu;           // where it runs
  Precision precision = Precision::f32;  // of its matrix products
  std::vector<TensorInfo> tensors;       // of the checkpoint, sorted by name
};

// Seconds that the calls of a detector took so far, together. Where a GPU runs ahead of the program, waiting for it
// counts as forward.
struct TimeSpent {
  double preprocess = 0;   // resizing and normalising
  double forward = 0;      // the network
  double postprocess = 0;  // scores and boxes
};

// What one forward pass costs, counted without running it.
struct Cost {
  double flops = 0;                    // multiplications and additions of matrix products, convolutions and attention
  double bytes = 0;                    // read and written by all operations, each operand once
  std::size_t peak_scratch_bytes = 0;  // activations: the whole working memory of a pass
  std::size_t weight_bytes = 0;        // packed weights
};

// Of the device that a detector runs on. The CPU has no name, and no numbers.
struct DeviceMemory {
  std::string name;            // "NVIDIA H200"
  std::size_t peak_bytes = 0;  // weights, working memory and constants of this detector, at their largest
  std::size_t used_bytes = 0;  // of everything on the device, CUDA's own contexts included
  std::size_t total_bytes = 0;
};

// What the parts of detect_batch() take, by the device's clock.
struct StageTimes {
  double prepare_ms = 0;  // images to the device, and resized there
  double model_ms = 0;    // the forward pass
  double finish_ms = 0;   // results to the host, and made boxes
};

// Operations of one kind and size in a forward pass.
struct OperationTime {
  std::string name;             // "linear"
  std::int64_t sizes[3] = {};   // rows and widths of a matrix product, ...
  int count = 0;                // in a pass
  double milliseconds = 0;      // of one
  double flops = 0, bytes = 0;  // of one, as Cost counts them
};

// A model's raw answers, before scores and pixels.
struct RawOutputs {
  int batch = 0, queries = 0, classes = 0;
  std::vector<float> logits;  // (batch, queries, classes)
  std::vector<float> boxes;   // (batch, queries, 4): centre x, centre y, width, height, in units of the input
};

// A loaded detector. Move-only. It prints nothing; what it has to tell (models loaded, input sizes planned) goes to the
// spdlog logger named "vistazo" if the program has registered one. The const methods may be called from several threads
// at once: weights are shared, each call takes working memory of its own, kept for the next one.
class Detector {
 public:
  // model: a Hugging Face folder: config.json, the weights, and preprocessor_config.json (without it, an image is
  // prepared as the family's authors do). Or weights alone, .safetensors or .pth, of a size that a family publishes.
  // Throws Error, naming the file or tensor, the value found and the value wanted.
  static Detector load(const std::filesystem::path& model, const Options& options = {});
  // The model that config.json describes with random weights, for benches. Reproducible for one seed.
  static Detector with_random_weights(const std::filesystem::path& config, const Options& options = {},
                                      unsigned seed = 0);

  ~Detector();
  Detector(Detector&&) noexcept;
  Detector& operator=(Detector&&) noexcept;

  // Throws Error{argument} for an image without pixels, with a size below 1 or too short rows, or whose pixels lie in
  // the memory of a GPU that the detector does not run on.
  Detections detect(const Image& image) const;
  std::vector<Detections> detect_batch(std::span<const Image> images) const;

  // pixels (batch, 3, height, width), normalised as the model's preprocessing does, row-major.
  RawOutputs forward(std::span<const float> pixels, int batch, int height, int width) const;

  const ModelInfo& info() const;
  int max_batch() const;  // Options::max_batch
  // From which score on detections of a class are told; above 1 for one that is left out. Throws Error{argument}.
  float min_score(int class_id) const;
  TimeSpent time_spent() const;
  std::span<const std::string> class_names() const { return info().class_names; }
  Cost cost(int batch, int height, int width) const;

  // For benches. Passes over random pixels that are on the device already: what each of `runs` takes there, in ms.
  std::vector<double> time_forward(int batch, int height, int width, int runs) const;
  // Every operation of such a pass on its own.
  std::vector<OperationTime> profile_forward(int batch, int height, int width) const;
  // One batch of images. Throws Error{argument} if their inputs differ in size.
  StageTimes time_stages(std::span<const Image> images) const;
  DeviceMemory device_memory() const;

 private:
  struct Impl;
  friend class TiledDetector;
  // detect_batch() with the kernels of a batch of `chosen_for`, so that an image's bits depend on it alone.
  std::vector<Detections> detect_planned(std::span<const Image> images, int chosen_for) const;
  explicit Detector(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vistazo
