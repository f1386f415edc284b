#include <vistazo/detector.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <tuple>

#include "engine/backend.h"
#include "engine/log.h"
#include "engine/model.h"
#include "engine/model_source.h"
#include "engine/ops_cost.h"
#include "engine/postprocess.h"
#include "engine/preprocess.h"
#include "engine/weight_cursor.h"
#include "kernels/base/error.h"
#include "weights/config_reader.h"

namespace vistazo {
namespace {

// Everything one call needs to itself. Kept by the detector between calls.
struct Workspace {
  std::unique_ptr<Ops> ops;
  std::size_t scratch_bytes = 0;
  PostProcessor post_processor;
  std::vector<float> logits, boxes;
  std::vector<Placement> placements;
};

void require_valid(const Options& o) {
  const auto refuse = [](const char* name, auto value, const char* wanted) {
    fail(Error::Code::argument, "Options: {} is {}; {} is wanted", name, value, wanted);
  };
  if (o.max_batch < 1) refuse("max_batch", o.max_batch, "1 or more");
  if (o.cpu_threads < 0) refuse("cpu_threads", o.cpu_threads, "0 (all cores) or more");
  if (!(o.min_score >= 0 && o.min_score <= 1)) refuse("min_score", o.min_score, "a score from 0 to 1");
  if (o.max_detections < 1) refuse("max_detections", o.max_detections, "1 or more");
  if (!(o.nms_iou >= 0 && o.nms_iou <= 1)) refuse("nms_iou", o.nms_iou, "0 (off) to 1");
}

}  // namespace

struct Detector::Impl {
  Impl(const Options& o) : options(o), backend((require_valid(o), make_backend(o))) {}

  void describe(const std::string& source, const WeightReader& reader, const Checkpoint* checkpoint);
  void require_input(const char* function, int batch, int height, int width) const;
  Cost plan(int batch, int height, int width) const;
  void detect(std::span<const Image> images, std::span<Detections> results) const;
  template <typename Work>
  void with_workspace(int batch, int height, int width, Work&& work) const;
  template <typename Load>
  void run_model(Workspace& w, int batch, int height, int width, Load&& load) const;

  Options options;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
  Preprocessing preprocessing;
  ModelInfo info;

  using InputSize = std::tuple<int, int, int>;  // batch, height, width
  static constexpr std::size_t kMaxPlans = 256;
  mutable std::mutex mutex;  // of what follows
  mutable std::map<InputSize, Cost> plans;
  mutable std::vector<std::unique_ptr<Workspace>> idle;
};

void Detector::Impl::describe(const std::string& source, const WeightReader& reader, const Checkpoint* checkpoint) {
  const ModelTraits& traits = model->traits();
  info.source = source;
  info.family = traits.family;
  info.dialect = traits.dialect;
  info.architecture = traits.architecture;
  info.class_names = options.class_names.empty() ? traits.class_names : options.class_names;
  if (info.class_names.size() != traits.class_names.size()) {
    fail(Error::Code::argument, "{}: {} class names are given; the model has {} classes", source,
         info.class_names.size(), traits.class_names.size());
  }
  if (preprocessing.fit != Preprocessing::Fit::shortest_edge) {
    info.input_height = preprocessing.input.height;
    info.input_width = preprocessing.input.width;
    require_input(source.c_str(), 1, info.input_height, info.input_width);
  }
  info.height_multiple = info.width_multiple = traits.size_multiple;
  info.queries = traits.queries;
  info.parameters = reader.parameters();
  info.device = backend->device();
  info.precision = backend->precision();
  log()->info("{}: {} with {} tensor names, {:.1f} million parameters, {} bytes of packed weights", source, info.family,
              info.dialect, static_cast<double>(info.parameters) * 1e-6, backend->weights().bytes());
  if (!checkpoint) return;
  info.part = checkpoint->part();
  for (const CheckpointTensor& t : checkpoint->tensors()) info.tensors.push_back({t.name, name_of(t.dtype), t.shape});
}

void Detector::Impl::require_input(const char* function, int batch, int height, int width) const {
  if (batch < 1) fail(Error::Code::argument, "{}: batch is {}; 1 or more is wanted", function, batch);
  const int multiple = model->traits().size_multiple;
  if (height < 1 || width < 1 || height % multiple != 0 || width % multiple != 0) {
    fail(Error::Code::argument, "{}: an input of {} x {} (height x width); multiples of {} are wanted", function,
         height, width, multiple);
  }
}

// Counts a pass by running it on the cost backend: shape errors appear here, before any work.
Cost Detector::Impl::plan(int batch, int height, int width) const {
  {
    const std::lock_guard lock(mutex);
    const auto known = plans.find({batch, height, width});
    if (known != plans.end()) return known->second;
  }
  const std::unique_ptr<Ops> target = backend->make_ops(0);
  CostOps counter(*target);
  model->forward(counter, counter.empty({batch, 3, height, width}, DType::f32));
  Cost cost = counter.cost();
  cost.weight_bytes = backend->weights().bytes();
  log()->debug("input {} x 3 x {} x {}: {:.2f} GFLOP, {} bytes of scratch", batch, height, width, cost.flops * 1e-9,
               cost.peak_scratch_bytes);
  const std::lock_guard lock(mutex);
  if (plans.size() >= kMaxPlans) plans.clear();
  plans[{batch, height, width}] = cost;
  return cost;
}

template <typename Work>
void Detector::Impl::with_workspace(int batch, int height, int width, Work&& work) const {
  const std::size_t bytes = plan(batch, height, width).peak_scratch_bytes;
  std::unique_ptr<Workspace> workspace;
  {
    const std::lock_guard lock(mutex);
    if (!idle.empty()) {
      workspace = std::move(idle.back());
      idle.pop_back();
    }
  }
  if (!workspace) workspace = std::make_unique<Workspace>();
  if (!workspace->ops || workspace->scratch_bytes < bytes) {
    workspace->ops.reset();  // before the larger one is made: both need not fit
    workspace->ops = backend->make_ops(bytes);
    workspace->scratch_bytes = bytes;
  }
  work(*workspace);
  const std::lock_guard lock(mutex);
  idle.push_back(std::move(workspace));
}

// load(ops, pixels) fills the input; the raw outputs land in w.logits and w.boxes.
template <typename Load>
void Detector::Impl::run_model(Workspace& w, int batch, int height, int width, Load&& load) const {
  const auto released = w.ops->scope();
  const Tensor pixels = w.ops->empty({batch, 3, height, width}, DType::f32);
  load(*w.ops, pixels);
  const Model::Outputs outputs = model->forward(*w.ops, pixels);
  w.logits.resize(static_cast<std::size_t>(outputs.logits.shape.elements()));
  w.boxes.resize(static_cast<std::size_t>(outputs.boxes.shape.elements()));
  w.ops->download(outputs.logits, w.logits);
  w.ops->download(outputs.boxes, w.boxes);
}

// Images whose inputs have one size run together.
void Detector::Impl::detect(std::span<const Image> images, std::span<Detections> results) const {
  const Selection selection{options.min_score, options.max_detections, options.nms_iou};
  const int multiple = model->traits().size_multiple, classes = static_cast<int>(info.class_names.size());
  for (std::size_t begin = 0; begin < images.size();) {
    const auto place_at = [&](std::size_t i) {
      return place(preprocessing, {images[i].height, images[i].width}, multiple);
    };
    const GridSize canvas = place_at(begin).canvas;
    std::size_t end = begin + 1;
    while (end < images.size() && end - begin < static_cast<std::size_t>(options.max_batch)) {
      const GridSize next = place_at(end).canvas;
      if (next.height != canvas.height || next.width != canvas.width) break;
      ++end;
    }
    const int batch = static_cast<int>(end - begin);
    with_workspace(batch, canvas.height, canvas.width, [&](Workspace& w) {
      w.placements.clear();
      for (std::size_t i = begin; i < end; ++i) w.placements.push_back(place_at(i));
      run_model(w, batch, canvas.height, canvas.width, [&](Ops& ops, const Tensor& pixels) {
        for (int b = 0; b < batch; ++b) {
          const auto i = static_cast<std::size_t>(b);
          preprocess(ops, preprocessing, w.placements[i], images[begin + i], pixels, b);
        }
      });
      const std::size_t logits = w.logits.size() / (end - begin), boxes = w.boxes.size() / (end - begin);
      for (std::size_t i = 0; i < end - begin; ++i) {
        const Image& image = images[begin + i];
        w.post_processor.run(std::span(w.logits).subspan(i * logits, logits),
                             std::span(w.boxes).subspan(i * boxes, boxes), classes, w.placements[i],
                             {image.height, image.width}, selection, results[begin + i]);
      }
    });
    begin = end;
  }
}

Detector Detector::load(const std::filesystem::path& model, const Options& options) {
  auto impl = std::make_unique<Impl>(options);
  const ModelSource source = open_model(model, options.architecture);
  WeightReader reader(*source.checkpoint, impl->backend->weights());
  impl->model = make_model(source.config, reader);
  impl->preprocessing = source.preprocessor ? read_preprocessing(*source.preprocessor, impl->model->traits())
                                            : default_preprocessing(impl->model->traits());
  impl->describe(model.string(), reader, source.checkpoint.get());
  if (!source.architecture.empty()) impl->info.architecture = source.architecture + ": " + impl->info.architecture;
  return Detector(std::move(impl));
}

Detector Detector::with_random_weights(const std::filesystem::path& config, const Options& options, unsigned seed) {
  auto impl = std::make_unique<Impl>(options);
  WeightReader reader(seed, impl->backend->weights());
  impl->model = make_model(read_config(config), reader);
  impl->preprocessing = default_preprocessing(impl->model->traits());
  impl->describe(config.string(), reader, nullptr);
  return Detector(std::move(impl));
}

Detector::Detector(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Detector::~Detector() = default;
Detector::Detector(Detector&&) noexcept = default;
Detector& Detector::operator=(Detector&&) noexcept = default;

Detections Detector::detect(const Image& image) const {
  require_valid(image, "detect", 0);
  Detections detections;
  impl_->detect({&image, 1}, {&detections, 1});
  return detections;
}

std::vector<Detections> Detector::detect_batch(std::span<const Image> images) const {
  for (std::size_t i = 0; i < images.size(); ++i) require_valid(images[i], "detect_batch", i);
  std::vector<Detections> results(images.size());
  impl_->detect(images, results);
  return results;
}

RawOutputs Detector::forward(std::span<const float> pixels, int batch, int height, int width) const {
  impl_->require_input("forward", batch, height, width);
  const std::size_t wanted = std::size_t{3} * static_cast<std::size_t>(batch) * static_cast<std::size_t>(height) *
                             static_cast<std::size_t>(width);
  if (pixels.size() != wanted) {
    fail(Error::Code::argument, "forward: {} pixel values; ({}, 3, {}, {}) has {}", pixels.size(), batch, height, width,
         wanted);
  }
  RawOutputs raw{batch, impl_->info.queries, static_cast<int>(impl_->info.class_names.size()), {}, {}};
  impl_->with_workspace(batch, height, width, [&](Workspace& w) {
    impl_->run_model(w, batch, height, width, [&](Ops& ops, const Tensor& input) { ops.upload(pixels, input); });
    raw.logits = w.logits;
    raw.boxes = w.boxes;
  });
  return raw;
}

const ModelInfo& Detector::info() const {
  return impl_->info;
}

Cost Detector::cost(int batch, int height, int width) const {
  impl_->require_input("cost", batch, height, width);
  return impl_->plan(batch, height, width);
}

}  // namespace vistazo
