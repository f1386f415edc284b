#include <fmt/ranges.h>
#include <vistazo/detector.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <tuple>

#include "engine/backend.h"
#include "engine/half_check.h"
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

// What a pass ends with: PassKey's kinds.
enum PassKind { kRawOutputs, kSelected };

// Everything one call needs to itself. Kept by the detector between calls.
struct Workspace {
  std::unique_ptr<Ops> ops;
  std::size_t scratch_bytes = 0;
  PostProcessor post_processor;
  std::vector<float> logits, boxes, selected;
  std::vector<Placement> placements;
};

// Adds the time since the last lap to one of the sums.
class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    begin_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

void require_valid(const Options& o) {
  const auto refuse = [](const char* name, auto value, const char* wanted) {
    fail(Error::Code::argument, "Options: {} is {}; {} is wanted", name, value, wanted);
  };
  if (o.max_batch < 1) refuse("max_batch", o.max_batch, "1 or more");
  if (o.gpu < 0) refuse("gpu", o.gpu, "an index, from 0,");
  if (o.cpu_threads < 0) refuse("cpu_threads", o.cpu_threads, "0 (all cores) or more");
  if (o.threads_per_call < 0) refuse("threads_per_call", o.threads_per_call, "0 (cpu_threads) or more");
  if (!(o.min_score >= 0 && o.min_score <= 1)) refuse("min_score", o.min_score, "a score from 0 to 1");
  if (o.max_detections < 1) refuse("max_detections", o.max_detections, "1 or more");
  if (!(o.nms_iou >= 0 && o.nms_iou <= 1)) refuse("nms_iou", o.nms_iou, "0 (off) to 1");
}

std::string lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// Calls use(class id) for every class of that name, in any case: some label maps name several classes alike.
template <typename Use>
void for_classes_named(const std::string& name, const std::vector<std::string>& class_names, Use&& use) {
  bool is_found = false;
  for (std::size_t k = 0; k < class_names.size(); ++k) {
    if (lower_case(class_names[k]) != lower_case(name)) continue;
    use(k);
    is_found = true;
  }
  if (!is_found) {
    fail(Error::Code::argument, "Options: the model has no class \"{}\"; it has {}", name,
         fmt::join(class_names, ", "));
  }
}

Selection make_selection(const Options& o, const std::vector<std::string>& class_names) {
  constexpr float kNever = 2.0f;
  Selection selection{o.min_score, o.max_detections, o.nms_iou};
  if (o.classes.empty() && o.class_min_scores.empty()) return selection;
  std::vector<float>& scores = selection.class_min_scores;
  scores.assign(class_names.size(), o.classes.empty() ? o.min_score : kNever);
  for (const std::string& name : o.classes) {
    for_classes_named(name, class_names, [&](std::size_t k) { scores[k] = o.min_score; });
  }
  for (const auto& entry : o.class_min_scores) {
    const auto& name = entry.first;
    const float score = entry.second;
    if (!(score >= 0 && score <= 1)) {
      fail(Error::Code::argument, "Options: class_min_scores[{}] is {}; a score from 0 to 1 is wanted", name, score);
    }
    for_classes_named(name, class_names, [&](std::size_t k) {
      if (scores[k] != kNever) scores[k] = score;
    });
  }
  return selection;
}

}  // namespace

struct Detector::Impl {
  Impl(const Options& o) : options(o), backend((require_valid(o), make_backend(o))) {}

  void describe(const std::string& source, const WeightReader& reader, const Checkpoint* checkpoint);
  void require_input(const char* function, int batch, int height, int width) const;
  Cost plan(int batch, int height, int width) const;
  void detect(std::span<const Image> images, std::span<Detections> results, int chosen_for = 0) const;
  StageTimes detect_together(std::span<const Image> images, std::span<Detections> results, bool is_timed,
                             int chosen_for = 0) const;
  void add(const TimeSpent& taken) const;
  template <typename Work>
  void with_workspace(int batch, int height, int width, Work&& work) const;
  bool selects_on_device(const Ops& ops) const;
  Ops::PassResults pass(Ops& ops, const Tensor& pixels, PassKind kind) const;
  Ops::PassResults run_pass(Ops& ops, const Tensor& pixels, PassKind kind, int chosen_for = 0) const;
  void download_selected(Workspace& w, const Tensor& selected, std::span<const Image> images,
                         std::span<Detections> results) const;
  void download(Workspace& w, const Ops::PassResults& results) const;
  int inputs_alike(std::span<const Image> images, std::size_t begin) const;
  bool is_on_gpu() const { return backend->device() == Device::cuda; }
  Placement placement_of(const Image& image) const {
    return place(preprocessing, {image.height, image.width}, model->traits().size_multiple);
  }

  Options options;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
  Preprocessing preprocessing;
  Selection selection;
  ModelInfo info;

  using InputSize = std::tuple<int, int, int>;  // batch, height, width
  static constexpr std::size_t kMaxPlans = 256;
  mutable std::mutex mutex;  // of what follows
  mutable std::map<InputSize, Cost> plans;
  mutable std::vector<std::unique_ptr<Workspace>> idle;
  mutable TimeSpent spent;
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
  selection = make_selection(options, info.class_names);
  if (options.native_size) {
    preprocessing.fit = Preprocessing::Fit::native;
    preprocessing.input = traits.input;
  }
  if (preprocessing.fit == Preprocessing::Fit::stretch || preprocessing.fit == Preprocessing::Fit::letterbox) {
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
  const Backend::Turn turn(*backend);
  const std::unique_ptr<Ops> target = backend->make_ops(0);
  CostOps counter(*target);
  pass(counter, counter.empty({batch, 3, height, width}, DType::f32),
       selects_on_device(counter) ? kSelected : kRawOutputs);
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
  const Backend::Turn turn(*backend);
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

bool Detector::Impl::selects_on_device(const Ops& ops) const {
  return ops.can_select(selection.max_detections) && PostProcessor::only_threshold(selection);
}

void Detector::Impl::add(const TimeSpent& taken) const {
  const std::lock_guard lock(mutex);
  spent.preprocess += taken.preprocess;
  spent.forward += taken.forward;
  spent.postprocess += taken.postprocess;
}

Ops::PassResults Detector::Impl::pass(Ops& ops, const Tensor& pixels, PassKind kind) const {
  const Model::Outputs outputs = model->forward(ops, pixels);
  if (kind == kRawOutputs) return {outputs.logits, outputs.boxes};
  const float threshold = *PostProcessor::only_threshold(selection);
  return {ops.select_detections(outputs.logits, outputs.boxes, threshold, selection.max_detections), Tensor{}};
}

// The forward pass; its results stay on the device. chosen_for: as in PassKey.
Ops::PassResults Detector::Impl::run_pass(Ops& ops, const Tensor& pixels, PassKind kind, int chosen_for) const {
  const auto size = [&](int axis) { return static_cast<int>(pixels.shape[axis]); };
  const auto work = [&] { return pass(ops, pixels, kind); };
  return ops.run_pass({kind, size(0), size(2), size(3), chosen_for}, std::ref(work));
}

void Detector::Impl::download_selected(Workspace& w, const Tensor& selected, std::span<const Image> images,
                                       std::span<Detections> results) const {
  w.selected.resize(static_cast<std::size_t>(selected.shape.elements()));
  w.ops->download(selected, w.selected);
  const auto* candidates = reinterpret_cast<const DetectionCandidate*>(w.selected.data());
  const auto most = static_cast<std::size_t>(selection.max_detections);
  const auto* counts = reinterpret_cast<const std::int32_t*>(candidates + images.size() * most);
  for (std::size_t i = 0; i < images.size(); ++i) {
    PostProcessor::run_selected(std::span(candidates + i * most, static_cast<std::size_t>(counts[i])),
                                static_cast<int>(info.class_names.size()), w.placements[i],
                                {images[i].height, images[i].width}, selection, results[i]);
  }
}

void Detector::Impl::download(Workspace& w, const Ops::PassResults& results) const {
  const auto& [logits, boxes] = results;
  w.logits.resize(static_cast<std::size_t>(logits.shape.elements()));
  w.boxes.resize(static_cast<std::size_t>(boxes.shape.elements()));
  w.ops->download(logits, w.logits);
  w.ops->download(boxes, w.boxes);
}

// How many images from `begin` on can run together: inputs of one size, at most max_batch.
int Detector::Impl::inputs_alike(std::span<const Image> images, std::size_t begin) const {
  const GridSize canvas = placement_of(images[begin]).canvas;
  int count = 1;
  while (count < options.max_batch && begin + static_cast<std::size_t>(count) < images.size()) {
    const GridSize next = placement_of(images[begin + static_cast<std::size_t>(count)]).canvas;
    if (next.height != canvas.height || next.width != canvas.width) break;
    ++count;
  }
  return count;
}

// images: a batch that runs together. Their detections are appended to `results`, one entry each.
StageTimes Detector::Impl::detect_together(std::span<const Image> images, std::span<Detections> results, bool is_timed,
                                           int chosen_for) const {
  const int batch = static_cast<int>(images.size()), classes = static_cast<int>(info.class_names.size());
  const GridSize canvas = placement_of(images[0]).canvas;
  StageTimes times;
  with_workspace(batch, canvas.height, canvas.width, [&](Workspace& w) {
    TimeSpent taken;
    const auto stage = [&](double& milliseconds, double& seconds, auto&& work) {
      Stopwatch watch;
      if (is_timed) {
        milliseconds = w.ops->milliseconds_of(std::ref(work));
      } else {
        work();
      }
      seconds = watch.lap();
    };
    const auto released = w.ops->scope();
    const Tensor pixels = w.ops->empty({batch, 3, canvas.height, canvas.width}, DType::f32);
    stage(times.prepare_ms, taken.preprocess, [&] {
      w.placements.clear();
      for (int b = 0; b < batch; ++b) {
        const Image& image = images[static_cast<std::size_t>(b)];
        w.placements.push_back(placement_of(image));
        preprocess(*w.ops, preprocessing, w.placements.back(), image, pixels, b);
      }
    });
    Ops::PassResults outputs;
    const PassKind kind = selects_on_device(*w.ops) ? kSelected : kRawOutputs;
    stage(times.model_ms, taken.forward, [&] { outputs = run_pass(*w.ops, pixels, kind, chosen_for); });
    stage(times.finish_ms, taken.postprocess, [&] {
      if (kind == kSelected) return download_selected(w, outputs[0], images, results);
      download(w, outputs);
      const std::size_t logits = w.logits.size() / images.size(), boxes = w.boxes.size() / images.size();
      for (std::size_t i = 0; i < images.size(); ++i) {
        w.post_processor.run(std::span(w.logits).subspan(i * logits, logits),
                             std::span(w.boxes).subspan(i * boxes, boxes), classes, w.placements[i],
                             {images[i].height, images[i].width}, selection, results[i]);
      }
    });
    add(taken);
  });
  return times;
}

void Detector::Impl::detect(std::span<const Image> images, std::span<Detections> results, int chosen_for) const {
  for (std::size_t begin = 0; begin < images.size();) {
    const auto count = static_cast<std::size_t>(inputs_alike(images, begin));
    detect_together(images.subspan(begin, count), results.subspan(begin, count), false, chosen_for);
    begin += count;
  }
}

namespace {

std::vector<float> random_pixels(int batch, int height, int width) {
  std::minstd_rand generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> pixels(std::size_t{3} * static_cast<std::size_t>(batch) * static_cast<std::size_t>(height) *
                            static_cast<std::size_t>(width));
  for (float& pixel : pixels) pixel = normal(generator);
  return pixels;
}

std::unique_ptr<Model> read_model(const ConfigReader& config, WeightReader& reader, Backend& backend) {
  const Backend::Turn turn(backend);
  return make_model(config, reader);
}

// Adds a step of a pass to the operations of its kind and size; times are means over them.
void add_operation(std::vector<OperationTime>& operations, const OpTime& time, const Cost& cost) {
  const auto is_alike = [&](const OperationTime& o) {
    return o.name == time.op && std::equal(time.sizes.begin(), time.sizes.end(), o.sizes) && o.flops == cost.flops &&
           o.bytes == cost.bytes;
  };
  auto known = std::ranges::find_if(operations, is_alike);
  if (known == operations.end()) {
    OperationTime operation{.name = time.op, .flops = cost.flops, .bytes = cost.bytes};
    std::ranges::copy(time.sizes, operation.sizes);
    known = operations.insert(operations.end(), operation);
  }
  known->milliseconds += (time.milliseconds - known->milliseconds) / ++known->count;
}

// A model asked for in f16 is compared with itself in f32, and given in bf16 if its values do not fit into f16.
template <typename Load>
Detector checked(Detector detector, const Options& options, Load&& load) {
  const ModelInfo& info = detector.info();
  if (info.precision != Precision::f16) return detector;
  constexpr int kSide = 512;  // of models that take images as they are
  const auto side = [](int own, int multiple) { return own > 0 ? own : std::max(kSide / multiple, 1) * multiple; };
  const int height = side(info.input_height, info.height_multiple);
  const int width = side(info.input_width, info.width_multiple);
  const std::vector<float> pixels = random_pixels(1, height, width);
  const auto in = [&](Precision precision) {
    Options o = options;
    o.precision = precision;
    return load(o);
  };
  const RawOutputs exact = in(Precision::f32).forward(pixels, 1, height, width);
  const double distance = half_distance(detector.forward(pixels, 1, height, width).logits, exact.logits, exact.classes);
  if (distance <= kMaxHalfDistance) return detector;
  log()->warn("{}: in f16 its scores are off by {:.2g} of their size; bf16 is taken instead", info.source, distance);
  return in(Precision::bf16);
}

}  // namespace

Detector Detector::load(const std::filesystem::path& model, const Options& options) {
  const ModelSource source = open_model(model, options.architecture);  // read ahead while a GPU is being set up
  auto impl = std::make_unique<Impl>(options);
  WeightReader reader(*source.checkpoint, impl->backend->weights());
  impl->model = read_model(source.config, reader, *impl->backend);
  impl->preprocessing = source.preprocessor ? read_preprocessing(*source.preprocessor, impl->model->traits())
                                            : default_preprocessing(impl->model->traits());
  impl->describe(model.string(), reader, source.checkpoint.get());
  if (!source.architecture.empty()) impl->info.architecture = source.architecture + ": " + impl->info.architecture;
  return checked(Detector(std::move(impl)), options, [&](const Options& o) { return load(model, o); });
}

Detector Detector::with_random_weights(const std::filesystem::path& config, const Options& options, unsigned seed) {
  auto impl = std::make_unique<Impl>(options);
  WeightReader reader(seed, impl->backend->weights());
  impl->model = read_model(read_config(config), reader, *impl->backend);
  impl->preprocessing = default_preprocessing(impl->model->traits());
  impl->describe(config.string(), reader, nullptr);
  return checked(Detector(std::move(impl)), options,
                 [&](const Options& o) { return with_random_weights(config, o, seed); });
}

Detector::Detector(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Detector::~Detector() = default;
Detector::Detector(Detector&&) noexcept = default;
Detector& Detector::operator=(Detector&&) noexcept = default;

Detections Detector::detect(const Image& image) const {
  require_valid(image, "detect", 0, impl_->is_on_gpu());
  Detections detections;
  impl_->detect({&image, 1}, {&detections, 1});
  return detections;
}

std::vector<Detections> Detector::detect_batch(std::span<const Image> images) const {
  return detect_planned(images, 0);
}

std::vector<Detections> Detector::detect_planned(std::span<const Image> images, int chosen_for) const {
  for (std::size_t i = 0; i < images.size(); ++i) require_valid(images[i], "detect_batch", i, impl_->is_on_gpu());
  std::vector<Detections> results(images.size());
  impl_->detect(images, results, chosen_for);
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
    const auto released = w.ops->scope();
    const Tensor input = w.ops->empty({batch, 3, height, width}, DType::f32);
    w.ops->upload(pixels, input);
    impl_->download(w, impl_->run_pass(*w.ops, input, kRawOutputs));
    raw.logits = w.logits;
    raw.boxes = w.boxes;
  });
  return raw;
}

const ModelInfo& Detector::info() const {
  return impl_->info;
}

int Detector::max_batch() const {
  return impl_->options.max_batch;
}

float Detector::min_score(int class_id) const {
  const auto classes = static_cast<int>(class_names().size());
  if (class_id < 0 || class_id >= classes) {
    fail(Error::Code::argument, "min_score: class {}; the model has the classes 0 to {}", class_id, classes - 1);
  }
  const Selection& s = impl_->selection;
  return s.class_min_scores.empty() ? s.min_score : s.class_min_scores[static_cast<std::size_t>(class_id)];
}

TimeSpent Detector::time_spent() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->spent;
}

Cost Detector::cost(int batch, int height, int width) const {
  impl_->require_input("cost", batch, height, width);
  return impl_->plan(batch, height, width);
}

std::vector<double> Detector::time_forward(int batch, int height, int width, int runs) const {
  impl_->require_input("time_forward", batch, height, width);
  std::vector<double> milliseconds;
  impl_->with_workspace(batch, height, width, [&](Workspace& w) {
    const auto released = w.ops->scope();
    const Tensor pixels = w.ops->empty({batch, 3, height, width}, DType::f32);
    w.ops->upload(random_pixels(batch, height, width), pixels);
    for (int i = 0; i < runs; ++i) {
      const auto results_released = w.ops->scope();
      milliseconds.push_back(w.ops->milliseconds_of([&] { impl_->run_pass(*w.ops, pixels, kRawOutputs); }));
    }
  });
  return milliseconds;
}

std::vector<OperationTime> Detector::profile_forward(int batch, int height, int width) const {
  impl_->require_input("profile_forward", batch, height, width);
  std::vector<OpTime> times;
  std::vector<OperationTime> operations;
  impl_->with_workspace(batch, height, width, [&](Workspace& w) {
    CostOps counter(*w.ops);
    impl_->model->forward(counter, counter.empty({batch, 3, height, width}, DType::f32));
    const auto released = w.ops->scope();
    const Tensor pixels = w.ops->empty({batch, 3, height, width}, DType::f32);
    w.ops->upload(random_pixels(batch, height, width), pixels);
    times = w.ops->profile([&] { impl_->model->forward(*w.ops, pixels); });
    if (times.size() != counter.steps().size()) return;
    for (std::size_t i = 0; i < times.size(); ++i) add_operation(operations, times[i], counter.steps()[i]);
  });
  return operations;
}

StageTimes Detector::time_stages(std::span<const Image> images) const {
  for (std::size_t i = 0; i < images.size(); ++i) require_valid(images[i], "time_stages", i, impl_->is_on_gpu());
  if (images.empty() || impl_->inputs_alike(images, 0) != static_cast<int>(images.size())) {
    fail(Error::Code::argument, "time_stages: {} images; one batch of at most {} with inputs of one size is wanted",
         images.size(), impl_->options.max_batch);
  }
  std::vector<Detections> results(images.size());
  return impl_->detect_together(images, results, true);
}

DeviceMemory Detector::device_memory() const {
  const Backend::Turn turn(*impl_->backend);
  return impl_->backend->memory();
}

}  // namespace vistazo
